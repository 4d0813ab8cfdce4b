//! Containers of a daemon elsewhere.

use base64::Engine as _;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::http::{Answer, Request};
use super::{AHEAD, Remote, apart, download, feed, freed, list, texts};
use crate::backend::{
    Attach, Attached, Condition, Containers, Create, Created, Download, Exit, Filters, List, Logs,
    LogsWanted, Stats, Top, Unpack, Upload,
};
use crate::failure::{Failure, Outcome};

/// `signal` and `t`.
fn ending(request: Request, signal: Option<&str>, timeout: Option<i64>) -> Request {
    request.with("signal", signal.unwrap_or_default()).number("t", timeout)
}

/// What an answer says of a path.
fn stat(answer: &Answer) -> Outcome<Value> {
    let text = answer.header("x-docker-container-path-stat").unwrap_or_default();
    let json = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    serde_json::from_slice(&json)
        .map_err(|_| Failure::new(502, "the daemon does not say what is at the path"))
}

impl Remote {
    fn has_terminal(&self, name: &str) -> Outcome<bool> {
        Ok(self.inspect(name, false)?["Config"]["Tty"] == Value::Bool(true))
    }

    fn act(&self, name: &str, what: &str) -> Outcome<bool> {
        self.done(Request::post(&["containers", name, what]))
    }
}

impl Containers for Remote {
    fn list(&self, wanted: &List) -> Outcome<String> {
        let request = Request::get(&["containers", "json"])
            .flag("all", wanted.all)
            .number("limit", wanted.limit)
            .flag("size", wanted.size)
            .filters(&wanted.filters);
        Ok(self.ask(request)?.text()?.trim_end().to_owned())
    }

    fn create(&self, wanted: &Create) -> Outcome<Created> {
        let request = Request::post(&["containers", "create"])
            .with("name", &wanted.name)
            .with("platform", &wanted.platform)
            .json(&wanted.body);
        let made = self.value(request)?;
        let id = made["Id"].as_str().unwrap_or_default().to_owned();
        Ok(Created { id, warnings: texts(&made["Warnings"]) })
    }

    fn inspect(&self, name: &str, size: bool) -> Outcome<Value> {
        self.value(Request::get(&["containers", name, "json"]).flag("size", size))
    }

    fn start(&self, name: &str) -> Outcome<bool> {
        self.act(name, "start")
    }

    fn stop(&self, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Outcome<bool> {
        self.done(ending(Request::post(&["containers", name, "stop"]), signal, timeout))
    }

    fn restart(&self, name: &str, signal: Option<&str>, timeout: Option<i64>) -> Outcome<()> {
        let request = ending(Request::post(&["containers", name, "restart"]), signal, timeout);
        self.done(request).map(drop)
    }

    fn kill(&self, name: &str, signal: Option<&str>) -> Outcome<()> {
        self.done(ending(Request::post(&["containers", name, "kill"]), signal, None)).map(drop)
    }

    fn pause(&self, name: &str) -> Outcome<()> {
        self.act(name, "pause").map(drop)
    }

    fn unpause(&self, name: &str) -> Outcome<()> {
        self.act(name, "unpause").map(drop)
    }

    fn rename(&self, name: &str, to: &str) -> Outcome<()> {
        self.done(Request::post(&["containers", name, "rename"]).with("name", to)).map(drop)
    }

    fn update(&self, name: &str, body: &Value) -> Outcome<Vec<String>> {
        let told = self.value(Request::post(&["containers", name, "update"]).json(body))?;
        Ok(texts(&told["Warnings"]))
    }

    fn remove(&self, name: &str, force: bool, volumes: bool, link: bool) -> Outcome<()> {
        let request = Request::delete(&["containers", name])
            .flag("force", force)
            .flag("v", volumes)
            .flag("link", link);
        self.done(request).map(drop)
    }

    fn prune_containers(&self, filters: &Filters) -> Outcome<(Vec<String>, u64)> {
        let told = self.value(Request::post(&["containers", "prune"]).filters(filters))?;
        Ok((texts(&told["ContainersDeleted"]), freed(&told)))
    }

    fn top(&self, name: &str, arguments: &[String]) -> Outcome<Top> {
        let arguments = arguments.join(" ");
        let told =
            self.value(Request::get(&["containers", name, "top"]).with("ps_args", &arguments))?;
        let lines = told["Processes"].as_array().into_iter().flatten();
        Ok(Top { titles: texts(&told["Titles"]), processes: lines.map(texts).collect() })
    }

    fn changes(&self, name: &str) -> Outcome<Vec<(String, u8)>> {
        let told = list(self.value(Request::get(&["containers", name, "changes"]))?)?;
        let change = |one: &Value| {
            let kind = one["Kind"].as_u64().and_then(|kind| u8::try_from(kind).ok())?;
            Some((one["Path"].as_str()?.to_owned(), kind))
        };
        Ok(told.iter().filter_map(change).collect())
    }

    fn resize(&self, name: &str, rows: u16, columns: u16) -> Outcome<()> {
        let request = Request::post(&["containers", name, "resize"]);
        self.done(request.number("h", Some(rows)).number("w", Some(columns))).map(drop)
    }

    fn stat_path(&self, name: &str, path: &str) -> Outcome<Value> {
        let request = || Request::new("HEAD", &["containers", name, "archive"]).with("path", path);
        match self.head(request()) {
            Ok(answer) => stat(&answer),
            // The answer to HEAD has no sentence; that to GET would.
            Err(failure) => Err(match self.read_path(name, path) {
                Err(told) if told.status == failure.status => told,
                _ => failure,
            }),
        }
    }

    fn read_path(&self, name: &str, path: &str) -> Outcome<(Value, Download)> {
        let answer = self.ask(Request::get(&["containers", name, "archive"]).with("path", path))?;
        Ok((stat(&answer)?, download(answer.body)))
    }

    fn write_path(&self, name: &str, wanted: &Unpack, archive: Upload<'_>) -> Outcome<()> {
        let request = Request::new("PUT", &["containers", name, "archive"])
            .with("path", &wanted.path)
            .flag("noOverwriteDirNonDir", wanted.no_overwrite)
            .flag("copyUIDGID", wanted.copy_owners)
            .header("Content-Type", "application/x-tar".to_owned());
        self.send(request, archive, |answer| answer.text().map(drop))
    }

    fn export(&self, name: &str) -> Outcome<Download> {
        Ok(download(self.ask(Request::get(&["containers", name, "export"]))?.body))
    }

    fn attach(&self, name: &str, wanted: &Attach) -> Outcome<Attached> {
        let tty = self.has_terminal(name)?;
        let request = Request::post(&["containers", name, "attach"])
            .flag("logs", wanted.logs)
            .flag("stream", wanted.stream)
            .flag("stdin", wanted.stdin)
            .flag("stdout", wanted.stdout)
            .flag("stderr", wanted.stderr)
            .with("detachKeys", wanted.detach_keys.as_deref().unwrap_or_default());
        let (given, streams) = oneshot::channel();
        // The receiver is there: we have it.
        let _ = given.send(self.hijack(request)?);
        Ok(Attached { tty, replay: None, streams: Some(streams) })
    }

    fn logs(&self, name: &str, wanted: &LogsWanted) -> Outcome<Logs> {
        let tty = self.has_terminal(name)?;
        let request = Request::get(&["containers", name, "logs"])
            .flag("follow", wanted.follow)
            .flag("stdout", wanted.stdout)
            .flag("stderr", wanted.stderr)
            .with("since", wanted.since.as_deref().unwrap_or_default())
            .with("until", wanted.until.as_deref().unwrap_or_default())
            .flag("timestamps", wanted.timestamps)
            .flag("details", wanted.details)
            .number("tail", wanted.tail);
        Ok(Logs { tty, feed: feed(self.ask(request)?.body)? })
    }

    fn wait(&self, name: &str, condition: Condition) -> Outcome<oneshot::Receiver<Exit>> {
        let condition = match condition {
            Condition::NotRunning => "not-running",
            Condition::NextExit => "next-exit",
            Condition::Removed => "removed",
        };
        let request = Request::post(&["containers", name, "wait"]).with("condition", condition);
        let answer = self.ask(request)?;
        let (ended, end) = oneshot::channel();
        apart(move || {
            // Without an answer nobody is told of an end.
            let Ok(told) = answer.value() else { return };
            let error = told["Error"]["Message"].as_str().filter(|text| !text.is_empty());
            let exit = Exit {
                status: told["StatusCode"].as_i64().unwrap_or_default(),
                error: error.map(str::to_owned),
            };
            let _ = ended.send(exit);
        })?;
        Ok(end)
    }

    fn stats(&self, name: &str, stream: bool, one_shot: bool) -> Outcome<Stats> {
        let request = Request::get(&["containers", name, "stats"])
            .with("stream", if stream { "1" } else { "0" })
            .flag("one-shot", one_shot);
        let body = std::io::BufReader::new(self.ask(request)?.body);
        let (figures, stats) = mpsc::channel(AHEAD);
        apart(move || {
            for value in serde_json::Deserializer::from_reader(body).into_iter::<Value>() {
                let Ok(value) = value else { return };
                if figures.blocking_send(value).is_err() {
                    return;
                }
            }
        })?;
        Ok(stats)
    }
}
