//! Further programs in a container of a daemon elsewhere.

use serde_json::{Value, json};

use super::Remote;
use super::http::Request;
use crate::backend::{Exec, ExecStart, ExecStarted};
use crate::failure::{Failure, Outcome};

impl Exec for Remote {
    fn create_exec(&self, container: &str, body: &Value) -> Outcome<String> {
        let made = self.value(Request::post(&["containers", container, "exec"]).json(body))?;
        let id = made["Id"].as_str();
        id.map(str::to_owned).ok_or_else(|| Failure::new(502, "the daemon tells no id"))
    }

    fn check_exec(&self, id: &str, _wanted: &ExecStart) -> Outcome<bool> {
        let own = self.inspect_exec(id)?;
        let begun = own["Running"] == json!(true) || !own["ExitCode"].is_null();
        match begun {
            true => Err(Failure::conflict(format!("Error: Exec command {id} has already run"))),
            false => Ok(own["ProcessConfig"]["tty"] == json!(true)),
        }
    }

    fn start_exec(&self, id: &str, wanted: &ExecStart) -> Outcome<ExecStarted> {
        let mut body = json!({"Detach": wanted.detach, "Tty": wanted.tty});
        if let Some(size) = wanted.console_size {
            body["ConsoleSize"] = json!(size);
        }
        let request = Request::post(&["exec", id, "start"]).json(&body);
        if wanted.detach {
            self.done(request)?;
            return Ok(ExecStarted { streams: None, ended: None });
        }
        Ok(ExecStarted { streams: Some(self.hijack(request)?), ended: None })
    }

    fn resize_exec(&self, id: &str, rows: u16, columns: u16) -> Outcome<()> {
        let request = Request::post(&["exec", id, "resize"]);
        self.done(request.number("h", Some(rows)).number("w", Some(columns))).map(drop)
    }

    fn inspect_exec(&self, id: &str) -> Outcome<Value> {
        self.value(Request::get(&["exec", id, "json"]))
    }
}
