//! `RUN --mount=type=…,…`.

/// What is mounted while a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSpec {
    /// What it is.
    pub kind: MountKind,
    /// `from`: a stage or an image; the context without.
    pub from: Option<String>,
    /// `source`: where in it.
    pub source: String,
    /// `target`: where it is seen; relative to the working directory. Empty where it is not given.
    pub target: String,
    /// Whether the command can write to it.
    pub writable: bool,
}

/// The kinds of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that is kept from build to build.
    Cache {
        /// Which.
        id: String,
        /// Who else may have it at the same time.
        sharing: Sharing,
        /// Its mode, where it is made.
        mode: u32,
        /// Its owner, where it is made.
        owner: (u32, u32),
    },
    /// A file system in memory, of at most so many bytes; 0 for no limit.
    Tmpfs {
        /// Bytes.
        size: u64,
    },
    /// A secret.
    Secret {
        /// Which.
        id: String,
        /// Whether it must be there.
        required: bool,
        /// The file's mode.
        mode: u32,
        /// The file's owner.
        owner: (u32, u32),
        /// A variable that holds it, instead of a file or beside one.
        variable: Option<String>,
    },
    /// The socket of a key agent.
    Ssh {
        /// Which.
        id: String,
        /// Whether it must be there.
        required: bool,
        /// The socket's mode.
        mode: u32,
        /// The socket's owner.
        owner: (u32, u32),
    },
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    Shared,
    /// One; a second one gets another.
    Private,
    /// One; a second one waits.
    Locked,
}

/// The values of one `--mount`, read.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

const KEYS: [(&str, &str); 16] = [
    ("type", "type"),
    ("from", "from"),
    ("source", "source"),
    ("src", "source"),
    ("target", "target"),
    ("dst", "target"),
    ("destination", "target"),
    ("readonly", "readonly"),
    ("ro", "readonly"),
    ("readwrite", "readwrite"),
    ("rw", "readwrite"),
    ("id", "id"),
    ("sharing", "sharing"),
    ("required", "required"),
    ("size", "size"),
    ("env", "env"),
];

impl Fields {
    fn read(text: &str) -> Result<Fields, String> {
        let mut fields = Fields::default();
        for field in csv(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), value.to_owned()),
                None => (field.to_ascii_lowercase(), String::new()),
            };
            let known = KEYS.iter().find(|(name, _)| *name == key).map(|(_, key)| *key);
            let own = ["mode", "uid", "gid"].into_iter().find(|name| *name == key);
            let Some(known) = known.or(own) else {
                return Err(format!(
                    "unexpected key '{key}' in '{field}': known are type, from, source, target, \
                     readonly, readwrite, id, sharing, required, mode, uid, gid, size, env"
                ));
            };
            let flag = matches!(known, "readonly" | "readwrite" | "required");
            if !field.contains('=') && !flag {
                return Err(format!("invalid field '{field}' must be a key=value pair"));
            }
            fields.0.push((known.to_owned(), value));
        }
        Ok(fields)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.text(key).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(None),
            Some("" | "true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(format!("invalid value for {key}: {other}: write true or false")),
        }
    }

    fn number(&self, key: &str, radix: u32, usual: u32) -> Result<u32, String> {
        let Some(text) = self.text(key) else { return Ok(usual) };
        let digits = text.strip_prefix("0o").unwrap_or(text);
        u32::from_str_radix(digits, radix)
            .map_err(|_| format!("invalid value {text} for {key}: it is a number"))
    }

    fn owner(&self) -> Result<(u32, u32), String> {
        Ok((self.number("uid", 10, 0)?, self.number("gid", 10, 0)?))
    }
}

impl MountSpec {
    /// Reads the value of a `--mount`, in which variables are expanded.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<MountSpec, String> {
        let fields = Fields::read(text)?;
        let name = fields.text("type").unwrap_or("bind").to_ascii_lowercase();
        let (id, target) = (fields.text("id"), fields.text("target").unwrap_or_default());
        let required = fields.flag("required")?.unwrap_or(false);
        let kind = match name.as_str() {
            "bind" => MountKind::Bind,
            "cache" => MountKind::Cache {
                id: id.filter(|id| !id.is_empty()).unwrap_or(target).to_owned(),
                sharing: match fields.text("sharing").map(str::to_ascii_lowercase).as_deref() {
                    None | Some("shared") => Sharing::Shared,
                    Some("private") => Sharing::Private,
                    Some("locked") => Sharing::Locked,
                    Some(other) => {
                        return Err(format!(
                            "unsupported sharing value {other:?}: write shared, private or locked"
                        ));
                    }
                },
                mode: fields.number("mode", 8, 0o755)?,
                owner: fields.owner()?,
            },
            "tmpfs" => MountKind::Tmpfs { size: size(fields.text("size").unwrap_or("0"))? },
            "secret" => secret(&fields, id, required)?,
            "ssh" => MountKind::Ssh {
                id: id.unwrap_or("default").to_owned(),
                required,
                mode: fields.number("mode", 8, 0o600)?,
                owner: fields.owner()?,
            },
            other => {
                return Err(format!(
                    "unsupported mount type {other:?}: write bind, cache, tmpfs, secret or ssh"
                ));
            }
        };
        let needs_target = !matches!(kind, MountKind::Secret { .. } | MountKind::Ssh { .. });
        if needs_target && target.is_empty() {
            return Err("invalid mount: target is required".to_owned());
        }
        let read_only = fields.flag("readonly")?;
        let writable = match fields.flag("readwrite")? {
            Some(writable) => writable,
            None => read_only.map_or(!matches!(kind, MountKind::Bind), |read_only| !read_only),
        };
        Ok(MountSpec {
            kind,
            from: fields.text("from").filter(|from| !from.is_empty()).map(str::to_owned),
            source: fields.text("source").unwrap_or_default().to_owned(),
            target: target.to_owned(),
            writable,
        })
    }
}

fn secret(fields: &Fields, id: Option<&str>, required: bool) -> Result<MountKind, String> {
    let target = fields.text("target").filter(|target| !target.is_empty());
    let last = target.and_then(|target| target.rsplit('/').next());
    let id = id.filter(|id| !id.is_empty()).or(last).map(str::to_owned);
    Ok(MountKind::Secret {
        id: id.ok_or("one of source, target required: give the secret an id")?,
        required,
        mode: fields.number("mode", 8, 0o400)?,
        owner: fields.owner()?,
        variable: fields.text("env").map(str::to_owned),
    })
}

/// A size as Docker writes it: `64m`, `1g`, bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(number.len()..).unwrap_or_default();
    let scale: u64 = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err(format!("invalid size {text:?}: write it as 64m or 1g")),
    };
    let number: u64 = number.trim().parse().map_err(|_| format!("invalid size {text:?}"))?;
    number.checked_mul(scale).ok_or_else(|| format!("invalid size {text:?}: it is too large"))
}

/// The fields of one line of comma-separated values (RFC 4180).
fn csv(text: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => field.extend(characters.next()),
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    if quoted {
        return Err("failed to parse csv mounts: a quote is not closed".to_owned());
    }
    fields.push(field);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_fields() {
        let cache =
            MountSpec::parse("type=cache,target=/root/.cache,sharing=locked,uid=7").unwrap();
        assert_eq!(
            cache.kind,
            MountKind::Cache {
                id: "/root/.cache".into(),
                sharing: Sharing::Locked,
                mode: 0o755,
                owner: (7, 0),
            }
        );
        assert!(cache.writable);
        let bind = MountSpec::parse("target=/src,from=build,source=/out,rw").unwrap();
        assert_eq!((bind.from.as_deref(), bind.writable), (Some("build"), true));
        assert!(!MountSpec::parse("\"target=/a,b\"").unwrap().writable);
        let MountKind::Tmpfs { size } =
            MountSpec::parse("type=tmpfs,dst=/t,size=64m").unwrap().kind
        else {
            panic!("no tmpfs");
        };
        assert_eq!(size, 64 << 20);
    }

    #[test]
    fn what_is_no_mount_says_why() {
        for (text, why) in [
            ("type=volume,target=/x", "unsupported mount type \"volume\""),
            ("type=cache", "target is required"),
            ("tpye=cache", "unexpected key 'tpye'"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("type=cache,target=/x,sharing=all", "unsupported sharing value"),
            ("type=cache,target=/x,mode=rwx", "invalid value rwx for mode"),
            ("type=secret", "give the secret an id"),
            ("type=tmpfs,target=/x,size=much", "invalid size"),
            ("target=/x,ro=maybe", "invalid value for readonly"),
        ] {
            let error = MountSpec::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
