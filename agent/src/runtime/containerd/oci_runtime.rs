//! What runs containers below containerd: a shim, and the program that it calls. Tasks of the launch type `FARGATE` have the strongest that the
//! host has, all others runc.
//!
//! Owns which there are and where they are looked for. Shell: looks for programs; the choice among those that are there is pure.

use std::path::{Path, PathBuf};

use containerd_client::services::v1::container::Runtime as RuntimeName;
use prost::Message as _;
use prost_types::Any;

use super::trial::{self, Trial};
use crate::process::find_program;

/// The shim for runc, and for programs that can be called as runc is. Its defaults are right: control groups by path, not by systemd.
const RUNC_SHIM: &str = "io.containerd.runc.v2";
/// How containerd names the type of that shim's options.
const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";
const RUNC: &str = "runc";
/// Kata Containers: a virtual machine for each container.
const KATA: &str = "kata";
const KATA_SHIM: &str = "io.containerd.kata.v2";
/// gVisor: a kernel of its own, as a process, for each container.
const RUNSC: &str = "runsc";
const RUNSC_SHIM: &str = "io.containerd.runsc.v1";
/// What virtual machines need.
const KVM: &str = "/dev/kvm";

/// What runs containers below containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciRuntime {
    name: String,
    shim: String,
    /// The program that runc's shim calls instead of runc.
    program: Option<PathBuf>,
}

/// Why containers cannot be run by what was named.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSuchRuntime {
    /// It is none that there is a name for.
    #[error(
        "there is no runtime {0}: use runc, kata, runsc, or containerd's name of another, such as io.containerd.NAME.v2"
    )]
    Unknown(String),
    /// A program that it takes is missing.
    #[error(
        "the runtime {runtime} is not on this host: its program {program} is not in PATH; install it where containerd finds it too, or name \
         another runtime"
    )]
    NotInstalled {
        /// As it was named.
        runtime: String,
        /// What was looked for.
        program: String,
    },
}

/// The options of runc's shim, as far as Berth has any.
#[derive(Clone, PartialEq, prost::Message)]
struct RuncOptions {
    #[prost(string, tag = "6")]
    binary_name: String,
}

impl OciRuntime {
    /// runc, which containers have where nothing else is said.
    #[must_use]
    pub fn runc() -> Self {
        Self {
            name: RUNC.to_owned(),
            shim: RUNC_SHIM.to_owned(),
            program: None,
        }
    }

    /// The strongest that is on this host: Kata Containers where there is KVM, else gVisor where it can run a container, else runc. Takes as long
    /// as running one.
    pub async fn strongest() -> Self {
        let found = strongest(Path::new(KVM).exists(), find_program);
        match find_program(RUNSC) {
            Some(program) if found.name == RUNSC => unless_it_fails(found, trial::of(&program).await),
            _ => found,
        }
    }

    /// The one that is called `name`: `runc`, `kata`, `runsc`, or as containerd calls it.
    ///
    /// # Errors
    /// If there is none of that name, or it is not on this host.
    pub fn named(name: &str) -> Result<Self, NoSuchRuntime> {
        named(name, find_program)
    }

    /// What people call it, and what the host says of itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether containers of a task share its network. Those that are machines of their own do not, without a sandbox around them.
    #[must_use]
    pub fn shares_network(&self) -> bool {
        self.name != RUNSC && !self.name.starts_with(KATA)
    }

    /// The same to containerd.
    pub(super) fn to_containerd(&self) -> RuntimeName {
        let options = |program: &PathBuf| Any {
            type_url: RUNC_OPTIONS.to_owned(),
            value: RuncOptions {
                binary_name: program.display().to_string(),
            }
            .encode_to_vec(),
        };
        RuntimeName {
            name: self.shim.clone(),
            options: self.program.as_ref().map(options),
        }
    }

    fn by_shim(name: &str, shim: &str) -> Self {
        Self {
            name: name.to_owned(),
            shim: shim.to_owned(),
            program: None,
        }
    }
}

fn strongest(has_kvm: bool, find: impl Fn(&str) -> Option<PathBuf>) -> OciRuntime {
    let names = [KATA, RUNSC].into_iter().filter(|name| *name != KATA || has_kvm);
    let mut found = names.filter_map(|name| named(name, &find).ok());
    found.next().unwrap_or_else(OciRuntime::runc)
}

/// gVisor, unless it said that it cannot run containers here. Where that is not known it is taken: tasks are not to lose their kernels of their own
/// since a host is busy.
fn unless_it_fails(gvisor: OciRuntime, trial: Trial) -> OciRuntime {
    match trial {
        Trial::Ran => gvisor,
        Trial::Unclear(why) => {
            tracing::warn!(%why, "it is not known whether gVisor (runsc) can run containers on this host");
            gvisor
        }
        Trial::Failed(why) => {
            tracing::warn!(
                %why,
                "gVisor (runsc) is on this host and cannot run containers, so that runc runs those of tasks of the launch type FARGATE; install one that \
                 is not older than the kernel, or say --fargate-runtime runsc to have it all the same"
            );
            OciRuntime::runc()
        }
    }
}

fn named(name: &str, find: impl Fn(&str) -> Option<PathBuf>) -> Result<OciRuntime, NoSuchRuntime> {
    let needs = |program: &str| {
        find(program).ok_or_else(|| NoSuchRuntime::NotInstalled {
            runtime: name.to_owned(),
            program: program.to_owned(),
        })
    };
    match name {
        RUNC => Ok(OciRuntime::runc()),
        KATA => named(KATA_SHIM, find),
        RUNSC => {
            let program = needs(RUNSC)?;
            Ok(named(RUNSC_SHIM, find).unwrap_or_else(|_| OciRuntime {
                // Distributions have the program without its shim, and runc's can call it.
                program: Some(program),
                ..OciRuntime::by_shim(RUNSC, RUNC_SHIM)
            }))
        }
        other => {
            let (short, program) = program_of(other).ok_or_else(|| NoSuchRuntime::Unknown(other.to_owned()))?;
            needs(&program)?;
            Ok(OciRuntime::by_shim(&short, other))
        }
    }
}

/// The short name of a runtime of containerd, and the program that containerd looks for.
fn program_of(runtime: &str) -> Option<(String, String)> {
    let (name, version) = runtime.strip_prefix("io.containerd.")?.split_once('.')?;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_word = |text: &str| !text.is_empty() && text.chars().all(fits);
    (is_word(name) && is_word(version)).then(|| (name.to_owned(), format!("containerd-shim-{name}-{version}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds these programs in `/bin`.
    fn having(programs: &'static [&str]) -> impl Fn(&str) -> Option<PathBuf> {
        move |name| programs.contains(&name).then(|| Path::new("/bin").join(name))
    }

    #[test]
    fn strongest_that_is_there_is_taken_and_virtual_machines_need_kvm() {
        const BOTH: &[&str] = &["containerd-shim-kata-v2", "runsc"];
        let name = |has_kvm, programs| strongest(has_kvm, having(programs)).name().to_owned();
        assert_eq!(name(true, BOTH), "kata");
        assert_eq!(name(false, BOTH), "runsc");
        assert_eq!(name(true, &["runsc"]), "runsc");
        assert_eq!(
            name(true, &["containerd-shim-runsc-v1"]),
            "runc",
            "a shim without its program"
        );
        assert_eq!(name(true, &[]), "runc");
    }

    #[test]
    fn gvisor_that_said_that_it_cannot_run_containers_is_not_taken() {
        let gvisor = || named("runsc", having(&["runsc"])).expect("there");
        let taken = |trial| unless_it_fails(gvisor(), trial).name;
        assert_eq!(taken(Trial::Ran), "runsc");
        assert_eq!(taken(Trial::Unclear("it did not end".to_owned())), "runsc");
        assert_eq!(taken(Trial::Failed("cannot".to_owned())), "runc");
    }

    #[test]
    fn gvisor_is_run_by_its_own_shim_where_there_is_one_and_else_by_that_of_runc() {
        let own = named("runsc", having(&["runsc", "containerd-shim-runsc-v1"])).expect("there");
        assert_eq!((own.to_containerd().name.as_str(), own.program), (RUNSC_SHIM, None));
        let by_runc = named("runsc", having(&["runsc"])).expect("there").to_containerd();
        let options = by_runc.options.expect("options");
        assert_eq!(
            (by_runc.name.as_str(), options.type_url.as_str()),
            (RUNC_SHIM, RUNC_OPTIONS)
        );
        let read = RuncOptions::decode(options.value.as_slice()).expect("reads");
        assert_eq!(read.binary_name, "/bin/runsc");
        assert_eq!(OciRuntime::runc().to_containerd().options, None);
    }

    #[test]
    fn runtime_is_found_by_the_name_that_containerd_has_for_it() {
        let other = named("io.containerd.own-one.v2", having(&["containerd-shim-own-one-v2"])).expect("there");
        assert_eq!(
            (other.name(), other.shim.as_str()),
            ("own-one", "io.containerd.own-one.v2")
        );
        assert!(other.shares_network());
        let kata = named("io.containerd.kata-qemu.v2", having(&["containerd-shim-kata-qemu-v2"])).expect("there");
        assert!(!kata.shares_network());
    }

    #[test]
    fn runtime_that_is_not_there_is_refused_with_what_was_looked_for() {
        let missing = |runtime: &str, program: &str| NoSuchRuntime::NotInstalled {
            runtime: runtime.to_owned(),
            program: program.to_owned(),
        };
        for (name, why) in [
            ("kata", missing("io.containerd.kata.v2", "containerd-shim-kata-v2")),
            ("runsc", missing("runsc", "runsc")),
            (
                "io.containerd.x.v1",
                missing("io.containerd.x.v1", "containerd-shim-x-v1"),
            ),
            ("docker", NoSuchRuntime::Unknown("docker".to_owned())),
            ("io.containerd.x", NoSuchRuntime::Unknown("io.containerd.x".to_owned())),
            (
                "io.containerd.../x.v1",
                NoSuchRuntime::Unknown("io.containerd.../x.v1".to_owned()),
            ),
        ] {
            assert_eq!(named(name, having(&[])), Err(why), "{name}");
        }
    }
}
