//! Labels of security modules: AppArmor profiles and SELinux contexts, set for the next execve.

use std::ffi::CString;
use std::path::Path;

use crate::create::Step;

/// The steps that ask for the labels.
pub(crate) fn steps(apparmor: Option<&str>, selinux: Option<&str>) -> Vec<Step> {
    let mut steps = Vec::new();
    let c = |text: String| CString::new(text).ok();
    if let Some(profile) = apparmor.filter(|profile| *profile != "unconfined") {
        // Since Linux 5.8 AppArmor has a directory of its own, beside other modules.
        let own = Path::new("/proc/self/attr/apparmor/exec").exists();
        let file = if own { "apparmor/exec" } else { "exec" };
        steps.extend(c(format!("exec {profile}")).map(|value| Step::Label(file, value)));
    }
    if let Some(label) = selinux {
        steps.extend(c(label.to_owned()).map(|value| Step::Label("exec", value)));
    }
    steps
}
