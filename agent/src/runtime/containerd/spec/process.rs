//! What runs in a container: arguments, environment, directory, user, capabilities. Pure.

use std::collections::HashSet;

use nix::sys::signal::Signal;
use oci_spec::runtime::{Capability, LinuxCapabilitiesBuilder, Process, ProcessBuilder, UserBuilder};

use super::{Ingredients, SpecError};

/// Docker's default path.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Docker's default capabilities without NET_RAW, with which a container could forge its neighbours' addresses.
const CAPABILITIES: [Capability; 13] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

pub(super) fn process(ingredients: &Ingredients<'_>) -> Result<Process, SpecError> {
    let set: HashSet<Capability> = CAPABILITIES.into_iter().collect();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?;
    let user = UserBuilder::default()
        .uid(ingredients.user.uid)
        .gid(ingredients.user.gid)
        .additional_gids(ingredients.user.additional_gids.clone())
        .build()?;
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(arguments(ingredients)?)
        .env(environment(ingredients))
        .cwd(working_directory(ingredients))
        .capabilities(capabilities)
        .rlimits(Vec::new()) // those of containerd, as Docker does
        .no_new_privileges(false)
        .build()?;
    Ok(process)
}

/// An entry point of the definition replaces the image's and its command; a command replaces the image's command.
fn arguments(ingredients: &Ingredients<'_>) -> Result<Vec<String>, SpecError> {
    let config = ingredients.image.config().as_ref();
    let container = ingredients.container;
    let image_entry_point = config.and_then(|c| c.entrypoint().clone()).unwrap_or_default();
    let image_command = config.and_then(|c| c.cmd().clone()).unwrap_or_default();
    let (entry_point, command) = if !container.entry_point.is_empty() {
        (container.entry_point.clone(), container.command.clone())
    } else if !container.command.is_empty() {
        (image_entry_point, container.command.clone())
    } else {
        (image_entry_point, image_command)
    };
    let arguments: Vec<String> = entry_point.into_iter().chain(command).collect();
    if arguments.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    Ok(arguments)
}

fn environment(ingredients: &Ingredients<'_>) -> Vec<String> {
    let image = ingredients
        .image
        .config()
        .as_ref()
        .and_then(|c| c.env().clone())
        .unwrap_or_default();
    let image = image.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (pair.clone(), String::new()),
    });
    let own = [
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), ingredients.hostname.clone()),
    ];
    let mut merged: Vec<(String, String)> = Vec::new();
    let agent = ingredients.agent_environment.iter().cloned();
    let given = ingredients.container.environment.iter().cloned();
    for (name, value) in own.into_iter().chain(image).chain(agent).chain(given) {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => merged.push((name, value)),
        }
    }
    merged
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn working_directory(ingredients: &Ingredients<'_>) -> String {
    let image = ingredients
        .image
        .config()
        .as_ref()
        .and_then(|c| c.working_dir().clone());
    let given = ingredients.container.working_directory.clone();
    let directory = given.filter(|d| !d.is_empty()).or(image).filter(|d| !d.is_empty());
    match directory {
        Some(directory) if directory.starts_with('/') => directory,
        Some(relative) => format!("/{relative}"),
        None => "/".to_owned(),
    }
}

/// The signal that asks a container of this image to stop; SIGTERM where the image names none, or none that exists.
pub(in crate::runtime::containerd) fn stop_signal(image: Option<&str>) -> i32 {
    let parse = |text: &str| {
        if let Ok(number) = text.parse::<i32>() {
            return Signal::try_from(number).ok();
        }
        let name = text.to_ascii_uppercase();
        let name = if name.starts_with("SIG") {
            name
        } else {
            format!("SIG{name}")
        };
        name.parse::<Signal>().ok()
    };
    image.and_then(parse).unwrap_or(Signal::SIGTERM) as i32
}
