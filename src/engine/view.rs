//! What there is to know of a container: what was decided, how far it is, what its supervisor says.

use corten_supervisor::health;
use corten_supervisor::record::{Exit, Phase, Status, Time};

use super::error::{Error, Result};
use super::filter::Filters;
use super::lookup::Seen;
use super::record::{Record, State};
use super::{Engine, clock};

/// One container, seen at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// What was decided.
    pub record: Record,
    /// How far it is.
    pub state: State,
    /// What its supervisor says, where it has one.
    pub status: Option<Status>,
    /// How it ended last.
    pub exit: Option<Exit>,
}

/// The filters of `ps`.
const KNOWN: [&str; 11] = [
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
    "volume",
];

/// The words for what a container is doing, by which Docker's clients know it.
const STATUSES: [&str; 7] =
    ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

impl Engine {
    /// One container.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; where its files cannot be read.
    pub fn view(&self, name_or_id: &str) -> Result<View> {
        let (record, state) = self.containers.find(name_or_id)?;
        let status = self.asked(&record, &state);
        self.look(record, state, status)
    }

    /// The containers that fit, the newest first; without `all` and a filter that says otherwise,
    /// those that run.
    ///
    /// # Errors
    /// For a filter that is none; where a file cannot be read.
    pub fn views(&self, all: bool, filters: &[String]) -> Result<Vec<View>> {
        let filters = Filters::parse(filters, &KNOWN)?;
        let chosen = Chosen::new(self, &filters)?;
        let all = all || ["status", "exited"].iter().any(|name| filters.has(name));
        let mut views = Vec::new();
        for Seen { record, state, status } in self.containers.see_all()? {
            if !all && !matches!(state, State::Running { .. }) {
                continue;
            }
            let status = status.or_else(|| self.asked(&record, &state));
            let view = self.look(record, state, status)?;
            if chosen.takes(&view) {
                views.push(view);
            }
        }
        Ok(views)
    }

    /// What its supervisor says. One that ends at this moment says nothing, and has written how it
    /// ended.
    fn asked(&self, record: &Record, state: &State) -> Option<Status> {
        let ask = || self.containers.shims.connect(&record.id)?.status();
        matches!(state, State::Running { .. }).then(ask)?.ok()
    }

    fn look(&self, record: Record, state: State, status: Option<Status>) -> Result<View> {
        let exit = match (&state, &status) {
            (State::Created, _) => None,
            (_, Some(status)) => status.exit.clone(),
            _ => self.containers.exit(&record.id)?,
        };
        Ok(View { record, state, status, exit })
    }
}

impl View {
    /// What it is doing, in one of Docker's words.
    pub fn word(&self) -> &'static str {
        match (&self.state, self.status.as_ref().map(|status| status.phase)) {
            (State::Created, _) => "created",
            (State::Running { .. }, Some(Phase::Paused)) => "paused",
            (State::Running { .. }, Some(Phase::Restarting)) => "restarting",
            (State::Running { .. }, Some(Phase::Running | Phase::Created)) => "running",
            (State::Running { .. } | State::Exited { .. }, _) => "exited",
        }
    }

    /// Its exit status; 0 while it runs, and before.
    pub fn exit_code(&self) -> u8 {
        match &self.state {
            State::Exited { exit_code, .. } => *exit_code,
            State::Running { .. } if self.word() == "running" => 0,
            State::Running { .. } => self.exit.as_ref().map_or(0, |exit| exit.status),
            State::Created => 0,
        }
    }

    /// When it was started last.
    pub fn started(&self) -> Time {
        let of_exit = || self.exit.as_ref().map_or(0, |exit| exit.started);
        self.status
            .as_ref()
            .map(|status| status.started)
            .filter(|time| *time != 0)
            .unwrap_or_else(of_exit)
    }

    /// When it ended last.
    pub fn finished(&self) -> Time {
        self.exit.as_ref().map_or(0, |exit| exit.finished)
    }

    /// `healthy` …; `none` where there is no health check.
    pub fn health(&self) -> &'static str {
        let report = self.status.as_ref().and_then(|status| status.health.as_ref());
        match report.map(|report| report.state) {
            None => "none",
            Some(health::State::Starting) => "starting",
            Some(health::State::Healthy) => "healthy",
            Some(health::State::Unhealthy) => "unhealthy",
        }
    }

    /// The line of `ps`: `Up 3 minutes (healthy)`.
    pub fn line(&self) -> String {
        let since = |time: Time| format!("{} ago", clock::since(time));
        let up = || format!("Up {}", clock::since(self.started()));
        match self.word() {
            "created" => "Created".to_owned(),
            "paused" => format!("{} (Paused)", up()),
            "restarting" => {
                format!("Restarting ({}) {}", self.exit_code(), since(self.finished()))
            }
            "running" => match self.health() {
                "none" => up(),
                "starting" => format!("{} (health: starting)", up()),
                health => format!("{} ({health})", up()),
            },
            _ => match &self.state {
                State::Exited { exit_code, finished, .. } => {
                    format!("Exited ({exit_code}) {}", clock::ago(finished))
                }
                _ => format!("Exited ({}) {}", self.exit_code(), since(self.finished())),
            },
        }
    }
}

/// The filters of a list, with what they need to be looked up once.
struct Chosen<'a> {
    filters: &'a Filters,
    names: Vec<regex::Regex>,
    exited: Vec<u8>,
    /// Points in time: made before, made since.
    before: Option<String>,
    since: Option<String>,
    /// Ids of images, and layers that an ancestor ends with.
    ancestors: Vec<(String, String)>,
}

impl<'a> Chosen<'a> {
    fn new(engine: &Engine, filters: &'a Filters) -> Result<Chosen<'a>> {
        for word in filters.values("status") {
            if !STATUSES.contains(&word.as_str()) {
                return Err(Error::refused(format!("invalid filter 'status={word}'")));
            }
        }
        for word in filters.values("health") {
            if !["starting", "healthy", "unhealthy", "none"].contains(&word.as_str()) {
                return Err(Error::refused(format!("invalid filter 'health={word}'")));
            }
        }
        let made = |name: &str| match filters.values(name).last() {
            Some(container) => Ok(Some(engine.containers.find(container)?.0.created)),
            None => Ok::<_, Error>(None),
        };
        let no_number =
            |text: &str| Error::refused(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        let names = filters.values("name").iter();
        let exited = filters.values("exited").iter();
        let ancestors = filters.values("ancestor").iter().map(|name| {
            let image = engine.images.image(name);
            let layers = image.as_ref().ok().map(super::image::chain).transpose()?;
            let top = layers.and_then(|layers| layers.last().map(ToString::to_string));
            Ok((
                image.map_or_else(|_| name.clone(), |image| image.id.to_string()),
                top.unwrap_or_default(),
            ))
        });
        Ok(Chosen {
            filters,
            names: names
                // What is no pattern is a name.
                .map(|text| {
                    regex::Regex::new(text).or_else(|_| regex::Regex::new(&regex::escape(text)))
                })
                .collect::<std::result::Result<_, _>>()
                .map_err(|why| Error::refused(why.to_string()))?,
            exited: exited
                .map(|text| text.parse().map_err(|_| no_number(text)))
                .collect::<Result<_>>()?,
            before: made("before")?,
            since: made("since")?,
            ancestors: ancestors.collect::<Result<_>>()?,
        })
    }

    fn takes(&self, view: &View) -> bool {
        let (record, filters) = (&view.record, self.filters);
        // With the slash that Docker's names have, and without.
        let named = |name: &regex::Regex| {
            let own = record.shown_name();
            name.is_match(own) || name.is_match(&format!("/{own}"))
        };
        let mounts = |text: &str| {
            record.mount_points.iter().any(|point| point.name == text || point.destination == text)
        };
        let descends = |(image, top): &(String, String)| {
            record.image_id == *image || record.layers.iter().any(|layer| layer.to_string() == *top)
        };
        (self.names.is_empty() || self.names.iter().any(named))
            && filters.one_of("id", |prefix| record.id.starts_with(prefix))
            && filters.one_of("status", |word| view.word() == word)
            && filters.one_of("health", |word| view.health() == word)
            && filters.one_of("volume", mounts)
            && filters.one_of("network", |name| is_on(record, name))
            && filters.labels_fit(&record.config.labels)
            && (self.exited.is_empty()
                || view.word() == "exited" && self.exited.contains(&view.exit_code()))
            && self.before.as_ref().is_none_or(|time| record.created < *time)
            && self.since.as_ref().is_none_or(|time| record.created > *time)
            && (self.ancestors.is_empty() || self.ancestors.iter().any(descends))
    }
}

/// Whether a container is on a network, or has its mode.
fn is_on(record: &Record, name: &str) -> bool {
    record.networks.contains_key(name) || record.host_config.network_mode == name
}
