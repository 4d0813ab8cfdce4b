//! The plan of a build, as data: stages, what each needs, and the steps with their numbers.
//!
//! It depends on the Dockerfile and the build's arguments alone; nothing is looked up. Stages that the
//! target does not need are left out, and a circle of stages is found here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dockerfile::{Dockerfile, Instruction, Kind, MountSpec, Span};
use crate::error::Result;
use crate::expand::{Rules, expand};

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Scratch,
    /// Another stage, by its index.
    Stage(usize),
    /// An image.
    Image(String),
}

/// One stage.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// Its index.
    pub index: usize,
    /// Its name.
    pub name: Option<String>,
    /// What it begins with.
    pub base: Base,
    /// For which platform, where that is said.
    pub platform: Option<String>,
    /// The number of `FROM` among all steps.
    pub number: usize,
    /// All stages that it needs.
    pub needs: BTreeSet<usize>,
    /// Whether it is built.
    pub wanted: bool,
}

/// The plan of a build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All stages of the Dockerfile up to the last one that may be needed.
    pub stages: Vec<StagePlan>,
    /// The one that becomes the image.
    pub target: usize,
    /// How many steps there are, arguments before the first stage included.
    pub steps: usize,
    /// Arguments before the first stage, with their values.
    pub globals: BTreeMap<String, String>,
}

/// What a plan depends on beside the Dockerfile.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `--build-arg`; a name without a value is one of the environment that is not there.
    pub arguments: BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<String>,
    /// What the platform's arguments hold.
    pub platform: BTreeMap<String, String>,
    /// Whether stages that the target does not need are built, too: as the classic builder does.
    pub all_stages: bool,
}

/// Arguments that need not be declared: proxies. They do not count for the cache.
pub const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The arguments that tell of a platform.
pub fn platform_arguments(build: &str, target: &str) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    for (prefix, text) in [("BUILD", build), ("TARGET", target)] {
        let mut parts = text.split('/');
        let mut add = |name: &str, value: &str| {
            arguments.insert(format!("{prefix}{name}"), value.to_owned());
        };
        add("PLATFORM", text);
        for name in ["OS", "ARCH", "VARIANT"] {
            add(name, parts.next().unwrap_or_default());
        }
    }
    arguments
}

impl Plan {
    /// Makes the plan of a Dockerfile.
    ///
    /// # Errors
    /// A target that there is not, a circle of stages, a variable that cannot be expanded.
    pub fn new(file: &Dockerfile, wanted: &Wanted) -> Result<Plan> {
        let globals = globals(file, wanted)?;
        let target = target(file, wanted)?;
        let mut number = file.arguments.len();
        let mut stages = Vec::new();
        for (index, stage) in file.stages.iter().enumerate() {
            let rules = Rules::new(file.directives.escape);
            let word = |text: &str| -> Result<String> {
                let word =
                    expand(text, rules, &globals).map_err(|why| file.error(stage.at, why))?;
                Ok(word.text)
            };
            let name = word(&stage.base)?;
            if name.trim().is_empty() {
                let why = format!("base name ({}) should not be blank", stage.base);
                return Err(file.error(stage.at, why));
            }
            let earlier = |name: &str| stage_named(file, name).filter(|other| *other < index);
            let base = match earlier(&name.to_lowercase()) {
                Some(stage) => Base::Stage(stage),
                None if name == "scratch" => Base::Scratch,
                None => Base::Image(name),
            };
            let platform = stage.platform.as_deref().map(word).transpose()?;
            let mut needs = needs(file, index)?;
            if let Base::Stage(base) = base {
                needs.insert(base);
            }
            number += 1;
            let name = stage.name.clone();
            stages.push(StagePlan { index, name, base, platform, number, needs, wanted: false });
            number += stage.instructions.len();
        }
        let mut plan = Plan { stages, target, steps: number, globals };
        plan.mark(file, target, &mut Vec::new())?;
        if wanted.all_stages {
            // The classic builder ends with the target, and builds all before it.
            for stage in 0..target {
                plan.mark(file, stage, &mut Vec::new())?;
            }
            let after =
                file.stages.iter().skip(target + 1).map(|stage| stage.instructions.len() + 1);
            plan.steps -= after.sum::<usize>();
        }
        Ok(plan)
    }

    // ANCHOR: mark
    /// Marks a stage and all that it needs; `path` is how it was reached.
    fn mark(&mut self, file: &Dockerfile, index: usize, path: &mut Vec<usize>) -> Result<()> {
        let Some(stage) = self.stages.get_mut(index) else { return Ok(()) };
        if path.contains(&index) {
            let names: Vec<String> =
                path.iter().chain([&index]).map(|at| title(file, *at)).collect();
            let why = format!(
                "circular dependency detected on stage: {}: no stage can be built first",
                names.join(" needs ")
            );
            return Err(file.error(file.stages.get(index).map_or(Span::default(), |s| s.at), why));
        }
        if stage.wanted {
            return Ok(());
        }
        let needs = stage.needs.clone();
        path.push(index);
        for need in needs {
            self.mark(file, need, path)?;
        }
        path.pop();
        if let Some(stage) = self.stages.get_mut(index) {
            stage.wanted = true;
        }
        Ok(())
    }
    // ANCHOR_END: mark

    /// The stages that are built.
    pub fn wanted(&self) -> impl Iterator<Item = &StagePlan> + Clone {
        self.stages.iter().filter(|stage| stage.wanted)
    }
}

/// A stage as it is called in messages.
fn title(file: &Dockerfile, index: usize) -> String {
    let name = file.stages.get(index).and_then(|stage| stage.name.clone());
    name.unwrap_or_else(|| index.to_string())
}

/// The stage of that name, the last one where there are several; none where the name is a context's.
pub fn stage_named(file: &Dockerfile, name: &str) -> Option<usize> {
    if file.contexts.contains(name) {
        return None;
    }
    file.stages.iter().rposition(|stage| stage.name.as_deref() == Some(name))
}

/// The stage that `--from` means, by its name or its number; another name is an image's.
///
/// # Errors
/// For a number without a stage.
pub fn source_stage(file: &Dockerfile, from: &str, own: usize) -> Result<Option<usize>, String> {
    if let Some(stage) = stage_named(file, &from.to_lowercase()) {
        return Ok(Some(stage));
    }
    if file.contexts.contains(&from.to_lowercase()) {
        return Ok(None);
    }
    let Ok(number) = from.parse::<usize>() else { return Ok(None) };
    match number {
        number if number == own => {
            Err(format!("invalid from flag value {from}: refers to current build stage"))
        }
        number if number < file.stages.len() => Ok(Some(number)),
        _ => Err(format!(
            "invalid from flag value {from}: there are only {} stages, counted from 0",
            file.stages.len()
        )),
    }
}

// ANCHOR: needs
/// The stages that a stage's instructions copy from or mount.
fn needs(file: &Dockerfile, index: usize) -> Result<BTreeSet<usize>> {
    let mut needs = BTreeSet::new();
    let instructions = file.stages.get(index).map(|stage| stage.instructions.as_slice());
    for instruction in instructions.unwrap_or_default() {
        for from in sources(instruction) {
            let stage =
                source_stage(file, &from, index).map_err(|why| file.error(instruction.at, why))?;
            needs.extend(stage);
        }
    }
    Ok(needs)
}
// ANCHOR_END: needs

/// What an instruction reads beside the context: stages and images.
pub fn sources(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        Kind::Copy(copy) | Kind::Add(copy) => copy.from.clone().into_iter().collect(),
        Kind::Run(run) => {
            let mounts = run.mounts.iter().filter_map(|mount| MountSpec::parse(mount).ok());
            mounts.filter_map(|mount| mount.from).collect()
        }
        _ => Vec::new(),
    }
}

/// The arguments before the first stage.
fn globals(file: &Dockerfile, wanted: &Wanted) -> Result<BTreeMap<String, String>> {
    let mut values = wanted.platform.clone();
    for (name, value) in &wanted.arguments {
        if values.contains_key(name) {
            values.insert(name.clone(), value.clone());
        }
    }
    let rules = Rules::new(file.directives.escape);
    for instruction in &file.arguments {
        let Kind::Arg(arguments) = &instruction.kind else { continue };
        for (name, usual) in arguments {
            let value = match (wanted.arguments.get(name), usual) {
                (Some(value), _) => value.clone(),
                (None, Some(usual)) => {
                    let value = expand(usual, rules, &values);
                    value.map_err(|why| file.error(instruction.at, why))?.text
                }
                (None, None) => continue,
            };
            values.insert(name.clone(), value);
        }
    }
    Ok(values)
}

fn target(file: &Dockerfile, wanted: &Wanted) -> Result<usize> {
    let last = file.stages.len().saturating_sub(1);
    let Some(name) = wanted.target.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(last);
    };
    if let Some(stage) = stage_named(file, &name.to_lowercase()) {
        return Ok(stage);
    }
    match name.parse::<usize>() {
        Ok(number) if number <= last => Ok(number),
        _ => {
            let names: Vec<&str> =
                file.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
            let known = match names.is_empty() {
                true => "no stage has a name".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            Err(crate::Error::refused(format!(
                "failed to reach build target {name} in Dockerfile ({known})"
            )))
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Base::Scratch => out.write_str("scratch"),
            Base::Stage(stage) => write!(out, "stage {stage}"),
            Base::Image(name) => out.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    fn plan(text: &str, wanted: &Wanted) -> Result<Plan> {
        Plan::new(&parse("Dockerfile", text).unwrap(), wanted)
    }

    fn built(text: &str, wanted: &Wanted) -> Vec<usize> {
        plan(text, wanted).unwrap().wanted().map(|stage| stage.index).collect()
    }

    const FOUR: &str = "FROM a AS one\nRUN x\nFROM b AS two\nFROM scratch AS three\n\
                        COPY --from=one /x /x\nRUN --mount=from=1,target=/y x\nFROM two";

    #[test]
    fn stages_that_nobody_needs_are_left_out() {
        assert_eq!(built(FOUR, &Wanted::default()), [1, 3]);
        let target = |name: &str| Wanted { target: Some(name.into()), ..Wanted::default() };
        assert_eq!(built(FOUR, &target("three")), [0, 1, 2]);
        assert_eq!(built(FOUR, &target("0")), [0]);
        let all = Wanted { all_stages: true, ..target("TWO") };
        assert_eq!(built(FOUR, &all), [0, 1]);
        assert_eq!(plan(FOUR, &all).unwrap().steps, 3);
    }

    #[test]
    fn a_stage_may_need_a_later_one() {
        assert_eq!(
            built(
                "FROM a\nCOPY --from=b /x /\nFROM c AS b",
                &Wanted { target: Some("0".into()), ..Wanted::default() }
            ),
            [0, 1]
        );
    }

    #[test]
    fn circles_and_names_that_there_are_not() {
        let wrong = |text: &str, wanted: &Wanted| plan(text, wanted).unwrap_err().classic();
        let circle = "FROM a AS x\nCOPY --from=y /1 /\nFROM x AS y";
        assert!(wrong(circle, &Wanted::default()).contains("y needs x needs y"));
        assert!(
            wrong("FROM a\nCOPY --from=0 /1 /", &Wanted::default())
                .contains("refers to current build stage")
        );
        assert!(wrong("FROM a\nCOPY --from=7 /1 /", &Wanted::default()).contains("only 1 stages"));
        let none = Wanted { target: Some("none".into()), ..Wanted::default() };
        assert!(wrong("FROM a AS b", &none).contains("failed to reach build target none"));
        assert!(wrong("FROM $NONE", &Wanted::default()).contains("should not be blank"));
    }

    #[test]
    fn arguments_before_the_first_stage_name_bases() {
        let text = "ARG A=1\nARG B=${A}2\nFROM x:$B";
        let base = |arguments: &[(&str, &str)]| {
            let arguments = arguments.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
            let plan = plan(text, &Wanted { arguments, ..Wanted::default() }).unwrap();
            plan.stages[0].base.to_string()
        };
        assert_eq!(base(&[]), "x:12");
        assert_eq!(base(&[("A", "7"), ("C", "9")]), "x:72");
    }
}
