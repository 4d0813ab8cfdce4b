//! `RUN`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::stage::{Effect, Stage};
use super::state::Layer;
use super::{Secret, Session, describe, layer};
use crate::dockerfile::{MountKind, MountSpec, Run, heredoc};
use crate::error::{At, Error, Result};
use crate::ignore::Ignore;
use crate::mounts;
use crate::plan::PREDEFINED;
use crate::progress::Event;
use crate::run::{Mount, MountSource, Stay, Staying, Step, Told};
use crate::tree::View;
use crate::work::Work;

/// A command, ready to run.
struct Command {
    words: Vec<String>,
    /// Further files that it needs: their place, and their content.
    scripts: Vec<(String, String)>,
    mounts: Vec<MountSpec>,
    network: String,
    insecure: bool,
    /// Build arguments that it sees.
    arguments: BTreeMap<String, String>,
}

/// What is there only while the command runs.
#[derive(Default)]
struct Prepared {
    mounts: Vec<Mount>,
    environment: Vec<String>,
    caches: Vec<mounts::Held>,
    /// Secrets lie in here.
    secrets: Option<Work>,
}

impl Stage<'_> {
    /// `RUN`.
    pub(super) fn run(&mut self, run: &Run) -> Result<()> {
        let command = self.command(run)?;
        let created_by = describe::run(
            !command.arguments.is_empty(),
            &self.counted(&command.arguments),
            &command.words,
        );
        let depends = self.run_depends(&command)?;
        self.cached(Effect { created_by, depends }, |stage| stage.execute(&command))
    }

    fn command(&self, run: &Run) -> Result<Command> {
        let config = &self.state.config;
        let mut scripts = Vec::new();
        let line = &run.command;
        let words = match line.heredocs.as_slice() {
            [] => config.words(line),
            [one] if is_alone(&line.words, one) => {
                let text = one.text();
                match text.starts_with("#!") {
                    true => {
                        let path = format!("/dev/pipes/{}", one.name.replace('/', "_"));
                        scripts.push((path.clone(), text));
                        vec![path]
                    }
                    false => [config.shell(), vec![text]].concat(),
                }
            }
            many => {
                // The shell reads them itself.
                let mut text = line.words.join(" ");
                for heredoc in many {
                    text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
                }
                [config.shell(), vec![text]].concat()
            }
        };
        let mut specs = Vec::new();
        for mount in &run.mounts {
            specs.push(MountSpec::parse(&self.word(mount)?).map_err(Error::refused)?);
        }
        let options = self.session.options;
        let network = match run.network.as_deref() {
            None | Some("default") => options.network.clone(),
            Some(other) => other.to_owned(),
        };
        let allowed = |what: &str| options.allow.iter().any(|allowed| allowed == what);
        if run.network.as_deref() == Some("host") && !allowed("network.host") {
            let why = "RUN --network=host needs network.host: allow it with --allow network.host";
            return Err(Error::refused(why));
        }
        let insecure = run.security.as_deref() == Some("insecure");
        if insecure && !allowed("security.insecure") {
            return Err(Error::refused(
                "RUN --security=insecure needs security.insecure: allow it with --allow \
                 security.insecure",
            ));
        }
        let arguments = self.visible_arguments();
        Ok(Command { words, scripts, mounts: specs, network, insecure, arguments })
    }

    /// The arguments that a command sees: those with a value that no variable of the image hides.
    fn visible_arguments(&self) -> BTreeMap<String, String> {
        let seen = |(name, value): (&String, &Option<String>)| {
            let value = value.as_ref()?;
            self.state.config.env(name).is_none().then(|| (name.clone(), value.clone()))
        };
        self.arguments.iter().filter_map(seen).collect()
    }

    // ANCHOR: counted
    /// Those of them that the history and the cache know of: not proxies that nobody has declared.
    fn counted(&self, arguments: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let shared = self.session.lock();
        let counts = |name: &str| !PREDEFINED.contains(&name) || shared.consumed.contains(name);
        let these = arguments.iter().filter(|(name, _)| counts(name));
        these.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
    // ANCHOR_END: counted

    fn run_depends(&self, command: &Command) -> Result<crate::cache::Depends> {
        // In quotes: a word may hold blanks.
        let mut depends = self.depends(&format!("RUN {}", describe::quoted(&command.words)));
        depends.arguments = self.counted(&command.arguments);
        let network = if command.network == "default" { "" } else { command.network.as_str() };
        for (name, value) in [
            ("--network", network),
            ("--security", if command.insecure { "insecure" } else { "" }),
            ("classic", if self.session.options.classic { "true" } else { "" }),
        ] {
            if !value.is_empty() {
                depends.settings.insert(name.to_owned(), value.to_owned());
            }
        }
        for (path, script) in &command.scripts {
            depends.files.insert(path.clone(), script.clone());
        }
        for (index, mount) in command.mounts.iter().enumerate() {
            let text = format!("{mount:?}");
            depends.settings.insert(format!("--mount {index}"), text);
            if mount.kind == MountKind::Bind {
                let none = Ignore::default();
                let own = mount.from.as_deref().map(|from| self.tree_of(from)).transpose()?;
                let tree = own.as_ref().map_or(self.session.context, |(tree, _)| tree);
                let view = View { tree, exclude: &none, cancel: &self.session.cancel };
                let name = format!("{} ({})", mount.source, mount.from.as_deref().unwrap_or("."));
                let sum = view.sum(&tree.named(&mount.source)?)?;
                depends.files.insert(name, sum);
            }
        }
        Ok(depends)
    }

    // ANCHOR: execute
    /// Runs the command and makes a layer of what it has changed.
    fn execute(&mut self, command: &Command) -> Result<Option<Layer>> {
        let session = self.session;
        let prepared = self.prepare(command)?;
        let own = session.work.directory()?;
        let arguments = command.arguments.iter().map(|(name, value)| format!("{name}={value}"));
        let open: Vec<String> = arguments.collect();
        let all = [open.clone(), prepared.environment.clone()].concat();
        let config = self.container_config(&command.words, all);
        let image = || self.stay_image();
        let stay = || Stay {
            always: session.options.staying == Staying::All,
            config: self.container_config(&command.words, open),
            image: &image,
        };
        let may_stay = session.options.staying != Staying::Nothing && !self.state.id().is_empty();
        let step = Step {
            layers: &self.state.chain(),
            image: &self.state.base,
            config,
            writable: &own,
            mounts: prepared.mounts.clone(),
            network: &command.network,
            insecure: command.insecure,
            volumes: session.options.classic,
            resources: &session.options.resources,
            stay: may_stay.then(stay),
            cancel: &session.cancel,
        };
        let ended = session.builder.runner.run(&step, &mut |told| self.told(&told))?;
        session.check()?;
        let stays = ended.stays.is_some();
        let writable = ended.stays.as_ref().map_or(&*own, |stayed| stayed.changes());
        if ended.status != 0 {
            let kept = match session.options.keep_failed {
                true => Some(self.keep_failed(command, stays, writable)?),
                false => None,
            };
            return Err(self.failure(command, ended.status, kept));
        }
        let parent = self.state.top().copied();
        let targets: Vec<String> =
            prepared.mounts.iter().map(|mount| mount.target.clone()).collect();
        layer::remove_stubs(session, parent.as_ref(), writable, &targets)?;
        let layer = session.commit(parent.as_ref(), stays, writable)?;
        session.work.discard(&own);
        Ok(layer)
    }
    // ANCHOR_END: execute

    fn told(&self, told: &Told<'_>) {
        let number = self.number;
        self.tell(match told {
            Told::Started(id) => Event::Running { number, container: (*id).to_owned() },
            Told::Output(bytes) => Event::Output { number, error: false, bytes: bytes.to_vec() },
            Told::Error(bytes) => Event::Output { number, error: true, bytes: bytes.to_vec() },
            Told::Removed(id) => Event::Removed { number, container: (*id).to_owned() },
        });
    }

    /// An image of what a command has made that has failed.
    fn keep_failed(&self, command: &Command, stays: bool, writable: &Path) -> Result<String> {
        let session = self.session;
        let mut state = self.state.clone();
        let layer = session.commit(state.top(), stays, writable)?;
        state.add(&self.now()?, &format!("failed: {}", command.words.join(" ")), layer);
        let blobs = state.layers.iter().map(|layer| layer.blob.clone()).collect();
        let images = session.builder.images;
        let image = images.put_image(&session.lease, &state.document(), blobs, &[])?;
        Ok(image.id.to_string())
    }

    fn failure(&self, command: &Command, status: i32, kept: Option<String>) -> Error {
        let remedy = match status {
            126 => "\nthe command cannot be executed: is it a program of this architecture?",
            127 => "\nthe command was not found: is it installed in this stage?",
            137 => "\nit was killed: was there not enough memory?",
            _ => "",
        };
        Error::Failed {
            place: Box::default(),
            command: command.words.join(" "),
            status,
            remedy: remedy.to_owned(),
            kept,
        }
    }

    /// Makes what the command's mounts need.
    fn prepare(&self, command: &Command) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        for (target, text) in &command.scripts {
            let path = self.session.work.directory()?.join("script");
            fs::write(&path, text).at("write", &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("chmod", &path)?;
            let source = MountSource::Host(path);
            prepared.mounts.push(Mount { target: target.clone(), source, writable: false });
        }
        for spec in &command.mounts {
            self.mount(spec, &mut prepared)?;
        }
        Ok(prepared)
    }

    fn mount(&self, spec: &MountSpec, prepared: &mut Prepared) -> Result<()> {
        let session = self.session;
        let target = self.state.config.directory(&spec.target);
        let writable = spec.writable;
        let source = match &spec.kind {
            MountKind::Bind => {
                let own = spec.from.as_deref().map(|from| self.tree_of(from)).transpose()?;
                let tree = own.as_ref().map_or(session.context, |(tree, _)| tree);
                // A copy: the tree is no directory of the host, what the context ignores is not seen,
                // and what is written is lost.
                MountSource::Host(session.copy_of(tree, &spec.source)?)
            }
            MountKind::Cache { id, sharing, mode, owner } => {
                let root = session.cache.mounts();
                let held = mounts::take(&root, id, *sharing, (*mode, *owner), &session.cancel)?;
                if held.is_new
                    && let Some(from) = &spec.from
                {
                    self.fill(&held.directory, from, &spec.source)?;
                }
                let source = MountSource::Host(held.directory.clone());
                prepared.caches.push(held);
                source
            }
            MountKind::Tmpfs { size } => MountSource::Memory(*size),
            MountKind::Secret { id, required, mode, owner, variable } => {
                let Some(bytes) = session.secret(id)? else {
                    return missing("secret", id, *required);
                };
                if let Some(name) = variable {
                    let text = String::from_utf8_lossy(&bytes);
                    prepared.environment.push(format!("{name}={text}"));
                    if spec.target.is_empty() {
                        return Ok(());
                    }
                }
                let path = prepared.secret(session, &bytes, (*mode, *owner))?;
                let target = match spec.target.is_empty() {
                    true => format!("/run/secrets/{id}"),
                    false => target,
                };
                let source = MountSource::Host(path);
                prepared.mounts.push(Mount { target, source, writable: false });
                return Ok(());
            }
            MountKind::Ssh { id, required, .. } => {
                let Some(socket) = session.options.agents.get(id) else {
                    return missing("ssh", id, *required);
                };
                let number = prepared.environment.len();
                let target = match spec.target.is_empty() {
                    true => format!("/run/buildkit/ssh_agent.{number}"),
                    false => target,
                };
                prepared.environment.push(format!("SSH_AUTH_SOCK={target}"));
                let source = MountSource::Host(socket.clone());
                prepared.mounts.push(Mount { target, source, writable: true });
                return Ok(());
            }
        };
        prepared.mounts.push(Mount { target, source, writable });
        Ok(())
    }

    /// Fills a new cache with files of a stage or an image.
    fn fill(&self, directory: &Path, from: &str, source: &str) -> Result<()> {
        let (tree, _) = self.tree_of(from)?;
        let copied = self.session.copy_of(&tree, source)?;
        for entry in fs::read_dir(&copied).at("read", &copied)?.flatten() {
            let to = directory.join(entry.file_name());
            fs::rename(entry.path(), &to).at("rename to", &to)?;
        }
        Ok(())
    }
}

impl Prepared {
    // ANCHOR: secret
    /// A file with a secret, which is never on a disk where `volatile` is none.
    fn secret(
        &mut self,
        session: &Session<'_>,
        bytes: &[u8],
        (mode, owner): (u32, (u32, u32)),
    ) -> Result<PathBuf> {
        let work = match &self.secrets {
            Some(work) => work,
            None => self.secrets.insert(Work::new(&session.builder.volatile)?),
        };
        let path = work.directory()?.join("secret");
        fs::write(&path, bytes).at("write", &path)?;
        std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1)).at("chown", &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("chmod", &path)?;
        Ok(path)
    }
    // ANCHOR_END: secret
}

impl Session<'_> {
    fn secret(&self, id: &str) -> Result<Option<Vec<u8>>> {
        Ok(match self.options.secrets.get(id) {
            None => None,
            Some(Secret::Bytes(bytes)) => Some(bytes.clone()),
            Some(Secret::File(path)) => Some(Session::read_host(path)?),
        })
    }
}

fn missing(what: &str, id: &str, required: bool) -> Result<()> {
    match required {
        true => {
            Err(Error::refused(format!("{what} {id}: not found: give it with --{what} id={id}")))
        }
        false => Ok(()),
    }
}

/// Whether nothing but a heredoc stands in the line.
fn is_alone(words: &[String], heredoc: &heredoc::Heredoc) -> bool {
    let [word] = words else { return false };
    heredoc::parse(word.trim()).is_some_and(|announced| announced.name == heredoc.name)
}
