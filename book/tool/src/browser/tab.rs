//! The one tab in which all pages are opened.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::nothing;
use super::protocol::Connection;
use crate::error::{Context, Error, Result};

/// The height of one screenshot; a longer page gives several.
const SHOT: u64 = 2000;

/// A tab, and what goes wrong in it.
pub(super) struct Tab {
    connection: Connection,
    base: String,
    width: u32,
    height: u32,
}

impl Tab {
    /// The connection's tab, told to report what happens in it; pages come from `base` only.
    pub(super) fn new(mut connection: Connection, base: &str) -> Result<Tab> {
        for domain in ["Page", "Runtime", "Network", "Log"] {
            connection.call(&format!("{domain}.enable"), nothing())?;
        }
        Ok(Tab { connection, base: base.to_owned(), width: 0, height: 0 })
    }

    /// The size of the screen, and the theme that the reader's system prefers.
    pub(super) fn set_view(
        &mut self,
        width: u32,
        height: u32,
        mobile: bool,
        scheme: &str,
    ) -> Result<()> {
        (self.width, self.height) = (width, height);
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.connection.call("Emulation.setDeviceMetricsOverride", metrics)?;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.connection.call("Emulation.setEmulatedMedia", features)?;
        Ok(())
    }

    /// Opens `url` and waits until all that belongs to it is loaded.
    pub(super) fn open(&mut self, url: &str) -> Result<()> {
        self.connection.take_events();
        let answer = self.connection.call("Page.navigate", json!({"url": url}))?;
        if let Some(error) = answer["errorText"].as_str() {
            return Err(Error::Browser(format!("{url}: {error}")));
        }
        self.connection.wait_for("Page.loadEventFired")
    }

    /// The value of an expression in the page.
    pub(super) fn evaluate(&mut self, expression: &str) -> Result<Value> {
        self.connection.evaluate(expression)
    }

    /// Opens the search as a reader does, types `word`, and waits for results; returns how many
    /// there are after at most ten seconds.
    pub(super) fn search(&mut self, word: &str) -> Result<u64> {
        const OPEN: &str = "document.getElementById('mdbook-search-toggle')?.click();
            const bar = document.getElementById('mdbook-searchbar');
            bar?.focus(); Boolean(bar)";
        const RESULTS: &str = "(async () => {
            const results = () => document.querySelectorAll('#mdbook-searchresults li').length;
            for (let i = 0; i < 200 && !results(); i++) await new Promise((r) => setTimeout(r, 50));
            return results(); })()";
        if self.evaluate(&format!("{{ {OPEN} }}"))? != json!(true) {
            return Ok(0);
        }
        for letter in word.chars() {
            let key = json!({"type": "keyDown", "text": letter, "key": letter});
            self.connection.call("Input.dispatchKeyEvent", key)?;
            self.connection
                .call("Input.dispatchKeyEvent", json!({"type": "keyUp", "key": letter}))?;
        }
        Ok(self.evaluate(RESULTS)?.as_u64().unwrap_or(0))
    }

    /// What has gone wrong since the page was opened, as sentences.
    pub(super) fn troubles(&mut self) -> Vec<String> {
        let events = self.connection.take_events();
        let mut urls: HashMap<String, String> = HashMap::new();
        let mut troubles = Vec::new();
        for event in &events {
            let parameters = &event["params"];
            if let Some(url) = parameters["request"]["url"].as_str() {
                let id = parameters["requestId"].to_string();
                urls.insert(id, url.trim_start_matches(&self.base).to_owned());
            }
            troubles.extend(self.trouble(event, &urls));
        }
        troubles
    }

    fn trouble(&self, event: &Value, urls: &HashMap<String, String>) -> Option<String> {
        let parameters = &event["params"];
        match event["method"].as_str()? {
            "Runtime.exceptionThrown" => {
                let details = &parameters["exceptionDetails"];
                let text = &details["exception"]["description"];
                let text = text.as_str().or(details["text"].as_str()).unwrap_or_default();
                Some(format!("exception: {}", text.lines().next().unwrap_or_default()))
            }
            "Runtime.consoleAPICalled" => {
                let kind = parameters["type"].as_str()?;
                let of = |value: &Value| match &value["value"] {
                    Value::Null => value["description"].as_str().unwrap_or_default().to_owned(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let words: Vec<String> = parameters["args"].as_array()?.iter().map(of).collect();
                ["error", "assert"]
                    .contains(&kind)
                    .then(|| format!("console {kind}: {}", words.join(" ")))
            }
            // A request that failed has an event of its own.
            "Log.entryAdded" => {
                let entry = &parameters["entry"];
                let counts = entry["level"] == "error" && entry["source"] != "network";
                counts.then(|| format!("log: {}", entry["text"].as_str().unwrap_or_default()))
            }
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str()?;
                let ours = [self.base.as_str(), "data:", "blob:"];
                (!ours.iter().any(|start| url.starts_with(start)))
                    .then(|| format!("asks another machine: {url}"))
            }
            "Network.responseReceived" => {
                let status = parameters["response"]["status"].as_u64()?;
                let url = parameters["response"]["url"].as_str()?.trim_start_matches(&self.base);
                // The browser asks for it unbidden where a file, such as a figure, names no icon.
                (status >= 400 && url != "favicon.ico")
                    .then(|| format!("request answered with {status}: {url}"))
            }
            "Network.loadingFailed" if parameters["canceled"] != true => {
                let error = parameters["errorText"].as_str().unwrap_or_default();
                let url = urls.get(&parameters["requestId"].to_string());
                Some(format!("request failed: {error}: {}", url.map_or("", String::as_str)))
            }
            _ => None,
        }
    }

    /// The whole page in pieces: `NAME-1.png` and so on.
    pub(super) fn screenshots(&mut self, dir: &Path, name: &str) -> Result<()> {
        let height = self.evaluate("document.documentElement.scrollHeight")?;
        let height = height.as_u64().unwrap_or(0).max(u64::from(self.height));
        for piece in 0..height.div_ceil(SHOT) {
            let top = piece * SHOT;
            let clip = json!({"x": 0, "y": top, "width": self.width,
                              "height": SHOT.min(height - top), "scale": 1});
            let parameters = json!({"captureBeyondViewport": true, "clip": clip});
            self.capture(parameters, &dir.join(format!("{name}-{}.png", piece + 1)))?;
        }
        Ok(())
    }

    /// The page on paper, as a PDF file.
    pub(super) fn print(&mut self, file: &Path) -> Result<()> {
        let footer = "<div style=\"font-size: 8px; width: 100%; text-align: center\">\
            <span class=\"pageNumber\"></span></div>";
        let parameters = json!({
            "printBackground": true, "generateDocumentOutline": true, "generateTaggedPDF": true,
            "displayHeaderFooter": true, "headerTemplate": "<span></span>", "footerTemplate": footer,
            "paperWidth": 8.27, "paperHeight": 11.69, "marginTop": 0.6, "marginBottom": 0.7,
            "marginLeft": 0.6, "marginRight": 0.6, "transferMode": "ReturnAsStream",
        });
        let answer = self.connection.call_patiently("Page.printToPDF", parameters)?;
        let mut bytes = Vec::new();
        loop {
            let part = json!({"handle": answer["stream"], "size": 1 << 20});
            let piece = self.connection.call("IO.read", part)?;
            let text = piece["data"].as_str().unwrap_or_default();
            let data =
                STANDARD.decode(text).map_err(|why| Error::Browser(format!("IO.read: {why}")));
            bytes.extend(if piece["base64Encoded"] == json!(true) { data? } else { text.into() });
            if piece["eof"] == json!(true) {
                break;
            }
        }
        std::fs::write(file, bytes).on("write", file)
    }

    /// What the screen shows, as `NAME.png`.
    pub(super) fn screenshot(&mut self, dir: &Path, name: &str) -> Result<()> {
        self.capture(nothing(), &dir.join(format!("{name}.png")))
    }

    fn capture(&mut self, parameters: Value, file: &Path) -> Result<()> {
        let answer = self.connection.call("Page.captureScreenshot", parameters)?;
        let data = answer["data"].as_str().unwrap_or_default();
        let bytes = STANDARD
            .decode(data)
            .map_err(|error| Error::Browser(format!("screenshot: {error}")))?;
        std::fs::write(file, bytes).on("write", file)
    }
}
