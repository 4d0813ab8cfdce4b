//! The Chrome DevTools Protocol: JSON messages over a WebSocket on loopback. A command has a number
//! and is answered under it; events come in between.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::error::{Context, Error, Result};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a wait for a message looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// A connection to the browser, and in it one tab.
pub(super) struct Connection {
    socket: WebSocket<TcpStream>,
    /// The tab's session; empty until there is one.
    session: String,
    number: u64,
    events: VecDeque<Value>,
    deadline: Instant,
}

impl Connection {
    /// Connects to the browser at `port`, whose socket is at `path`; everything that is done with
    /// the connection ends before `deadline`.
    pub(super) fn open(port: u16, path: &str, deadline: Instant) -> Result<Connection> {
        let address = format!("127.0.0.1:{port}");
        let stream = TcpStream::connect(&address).on("connect to", &address)?;
        stream.set_nodelay(true).on("set up", &address)?;
        stream.set_read_timeout(Some(PATIENCE)).on("set up", &address)?;
        let (socket, _) = tungstenite::client(format!("ws://{address}{path}"), stream)
            .map_err(|error| Error::Browser(format!("handshake: {error}")))?;
        socket.get_ref().set_read_timeout(Some(TICK)).on("set up", &address)?;
        let events = VecDeque::new();
        let mut connection =
            Connection { socket, session: String::new(), number: 0, events, deadline };
        let tab = connection.call("Target.createTarget", json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = connection.call("Target.attachToTarget", attach)?;
        connection.session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        Ok(connection)
    }

    /// Sends a command and waits for its answer.
    pub(super) fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.call_until(method, parameters, Instant::now() + PATIENCE)
    }

    /// The same for what may take as long as all together.
    pub(super) fn call_patiently(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.call_until(method, parameters, self.deadline)
    }

    fn call_until(&mut self, method: &str, parameters: Value, until: Instant) -> Result<Value> {
        self.number += 1;
        let mut command = json!({"id": self.number, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        self.socket
            .send(Message::text(command.to_string()))
            .map_err(|error| Error::Browser(format!("{method}: {error}")))?;
        let until = self.deadline.min(until);
        loop {
            let mut message = self.receive(method, until)?;
            if message["id"] == json!(self.number) {
                if let Some(error) = message.get("error") {
                    return Err(Error::Browser(format!("{method}: {error}")));
                }
                return Ok(message["result"].take());
            }
            self.events.push_back(message);
        }
    }

    /// Waits for an event; those before it stay to be taken.
    pub(super) fn wait_for(&mut self, event: &str) -> Result<()> {
        let until = self.deadline.min(Instant::now() + PATIENCE);
        while !self.events.iter().any(|message| message["method"] == event) {
            let message = self.receive(event, until)?;
            self.events.push_back(message);
        }
        Ok(())
    }

    /// The events since they were last taken.
    pub(super) fn take_events(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// The value of a JavaScript expression, or of the promise that it gives.
    pub(super) fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", parameters)?;
        if let Some(fault) = answer.get("exceptionDetails") {
            return Err(Error::Browser(format!("our own script: {}", fault["exception"])));
        }
        Ok(answer["result"]["value"].take())
    }

    fn receive(&mut self, waiting_for: &str, until: Instant) -> Result<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return serde_json::from_str(&text)
                        .map_err(|error| Error::Browser(format!("no JSON: {error}")));
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    if Instant::now() > until {
                        return Err(Error::Browser(format!("no answer in time: {waiting_for}")));
                    }
                }
                Err(error) => return Err(Error::Browser(format!("{waiting_for}: {error}"))),
            }
        }
    }
}
