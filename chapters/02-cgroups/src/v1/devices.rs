//! v1's device list: a default and exceptions to it.

use std::fmt;

use crate::device::{Access, DeviceKind, DeviceRule};
use crate::error::{Error, Result};
use crate::plan::Write;

// ANCHOR: list
/// What v1's devices controller holds: everything is allowed or denied but for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    /// What holds for whatever is not listed.
    pub default_allow: bool,
    /// The exceptions; each has `allow` set to the opposite of the default.
    pub exceptions: Vec<DeviceRule>,
}
// ANCHOR_END: list

impl DeviceList {
    /// What the rules amount to.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a rule takes a part out of an exception: v1 has no exceptions to
    /// exceptions, and would pass over the rule in silence.
    pub fn of(rules: &[DeviceRule]) -> Result<DeviceList> {
        let mut list = DeviceList { default_allow: false, exceptions: Vec::new() };
        for rule in rules {
            if DeviceRule::everything(rule.allow) == *rule {
                list = DeviceList { default_allow: rule.allow, exceptions: Vec::new() };
                continue;
            }
            // To the kernel `a` means everything, whatever numbers and access come after it.
            let kinds: &[DeviceKind] = match rule.kind {
                DeviceKind::All => &[DeviceKind::Char, DeviceKind::Block],
                DeviceKind::Char => &[DeviceKind::Char],
                DeviceKind::Block => &[DeviceKind::Block],
            };
            for kind in kinds {
                list.add(DeviceRule { kind: *kind, ..*rule })?;
            }
        }
        Ok(list)
    }

    fn add(&mut self, rule: DeviceRule) -> Result<()> {
        if rule.allow != self.default_allow {
            let same = |e: &&mut DeviceRule| e.includes(&rule) && rule.includes(e);
            match self.exceptions.iter_mut().find(same) {
                Some(exception) => exception.access = exception.access.union(rule.access),
                None => self.exceptions.push(rule),
            }
            return Ok(());
        }
        for exception in &mut self.exceptions {
            let left = exception.access.without(rule.access);
            if !exception.meets(&rule) || left == exception.access {
                continue;
            }
            if !rule.includes(exception) {
                return Err(Error::invalid(
                    format!("device rule `{rule}`"),
                    format!("would make a hole in `{exception}`, which v1 cannot express"),
                ));
            }
            exception.access = left;
        }
        self.exceptions.retain(|exception| !exception.access.is_empty());
        Ok(())
    }

    /// From `devices.list`. A list that allows everything has one line, and does not show what is
    /// excepted from it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a line is no rule.
    pub fn parse(text: &str) -> Result<DeviceList> {
        let rules: Vec<DeviceRule> =
            text.lines().map(DeviceRule::from_v1_line).collect::<Result<_>>()?;
        let default_allow = rules.first() == Some(&DeviceRule::everything(true));
        let exceptions = if default_allow { Vec::new() } else { rules };
        Ok(DeviceList { default_allow, exceptions })
    }

    /// The writes for a new group: the default first, which clears the list.
    pub(crate) fn writes(&self, group: usize) -> Vec<Write> {
        let mut writes = vec![Write::new(group, file(self.default_allow), "a")];
        let exceptions = self.exceptions.iter();
        writes.extend(exceptions.map(|e| Write::new(group, file(e.allow), e.v1_line())));
        writes
    }

    // ANCHOR: changes
    /// The writes that turn `present` into this list. What is allowed before and after is allowed
    /// at every moment between: a clear and a refill would break a terminal that is being opened.
    pub(crate) fn changes(&self, present: &DeviceList, group: usize) -> Vec<Write> {
        if self.default_allow || present.default_allow {
            return self.writes(group);
        }
        let mut writes = Vec::new();
        let mut change = |rule: &DeviceRule, access: Access, allow: bool| {
            if !access.is_empty() {
                let line = DeviceRule { access, ..*rule }.v1_line();
                writes.push(Write::new(group, file(allow), line));
            }
        };
        let access = |list: &DeviceList, rule: &DeviceRule| {
            let same = |e: &&DeviceRule| e.includes(rule) && rule.includes(e);
            list.exceptions.iter().find(same).map_or(Access::ALL.without(Access::ALL), |e| e.access)
        };
        for rule in &self.exceptions {
            change(rule, rule.access.without(access(present, rule)), true);
        }
        for rule in &present.exceptions {
            change(rule, rule.access.without(access(self, rule)), false);
        }
        writes
    }
    // ANCHOR_END: changes
}

fn file(allow: bool) -> &'static str {
    if allow { "devices.allow" } else { "devices.deny" }
}

impl fmt::Display for DeviceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.default_allow { "all" } else { "none" })?;
        let except: Vec<String> = self.exceptions.iter().map(DeviceRule::v1_line).collect();
        if except.is_empty() { Ok(()) } else { write!(f, " but {}", except.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::allowed;

    fn rules(lines: &[&str]) -> Vec<DeviceRule> {
        lines.iter().map(|line| line.parse().unwrap()).collect()
    }

    fn list(lines: &[&str]) -> String {
        DeviceList::of(&rules(lines)).map_or_else(|e| e.to_string(), |list| list.to_string())
    }

    #[test]
    fn rules_become_a_default_and_exceptions() {
        assert_eq!(list(&[]), "none");
        assert_eq!(list(&["-a *:* rwm", "+c 1:3 r", "+c 1:3 w"]), "none but c 1:3 rw");
        assert_eq!(list(&["+a *:* m"]), "none but c *:* m, b *:* m");
        assert_eq!(list(&["+a *:* rwm", "-b 8:* w"]), "all but b 8:* w");
        assert_eq!(list(&["+c 1:3 rwm", "-c *:* w", "+b 8:0 r"]), "none but c 1:3 rm, b 8:0 r");
        assert_eq!(list(&["+c 1:3 rwm", "-c 1:3 rwm"]), "none");
    }

    #[test]
    fn what_v1_cannot_express_is_refused() {
        let text = list(&["+c *:* rw", "-c 1:11 r"]);
        assert_eq!(
            text,
            "device rule `-c 1:11 r`: would make a hole in `+c *:* rw`, which v1 cannot express"
        );
        // Another access, or other devices, are no hole.
        assert_eq!(list(&["+c *:* rw", "-c 1:11 m"]), "none but c *:* rw");
        assert_eq!(list(&["+c 5:* rw", "-c 1:11 r"]), "none but c 5:* rw");
    }

    #[test]
    fn an_update_changes_only_what_differs() {
        let before = DeviceList::of(&rules(&["+c 1:3 rwm", "+c 1:5 r"])).unwrap();
        let after = DeviceList::of(&rules(&["+c 1:3 rw", "+c 1:5 rw", "+b 8:0 r"])).unwrap();
        let writes: Vec<String> = after
            .changes(&before, 0)
            .iter()
            .map(|write| format!("{} {}", write.file, write.value))
            .collect();
        assert_eq!(
            writes,
            ["devices.allow c 1:5 w", "devices.allow b 8:0 r", "devices.deny c 1:3 m"]
        );
        assert!(after.changes(&after, 0).is_empty());
    }

    #[test]
    fn the_kernel_s_list_is_read_back() {
        let list = DeviceList::parse("c 1:3 rwm\nc 136:* rw\n").unwrap();
        assert_eq!(list.to_string(), "none but c 1:3 rwm, c 136:* rw");
        assert!(DeviceList::parse("a *:* rwm\n").unwrap().default_allow);
    }

    #[test]
    fn the_container_s_rules_mean_the_same_as_a_list() {
        let list = DeviceList::of(&DeviceRule::CONTAINER).unwrap();
        assert!(!list.default_allow);
        for (kind, major, minor) in
            [(DeviceKind::Char, 1, 3), (DeviceKind::Block, 8, 0), (DeviceKind::Char, 136, 9)]
        {
            for access in ["r", "w", "m", "rw"] {
                let access: Access = access.parse().unwrap();
                let by_rules = allowed(&DeviceRule::CONTAINER, kind, major, minor, access);
                let by_list = allowed(&list.exceptions, kind, major, minor, access);
                assert_eq!(by_rules, by_list, "{kind:?} {major}:{minor} {access}");
            }
        }
    }
}
