//! Services that wait for others before they start: said by a tag, which every client of ECS can send. ECS has no order among services.

use super::{ServiceName, Tags};

/// The tag of a service that names the services of its cluster that it waits for, separated by spaces.
pub const DEPENDS_ON_TAG: &str = "berth:depends-on";

/// A value of the tag that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The tag {DEPENDS_ON_TAG} has the value '{0}', which does not name services of the cluster, separated by spaces: names have letters, numbers, \
     hyphens and underscores."
)]
pub struct InvalidDependencies(String);

/// The services that tags name, each once, in the order in which they do; none where they name none, or nothing that is a name.
#[must_use]
pub fn dependencies_of(tags: &Tags) -> Vec<ServiceName> {
    let value = tags.get(DEPENDS_ON_TAG);
    value
        .and_then(|value| read_dependencies(value).ok())
        .unwrap_or_default()
}

/// Reads a value of the tag.
///
/// # Errors
/// `InvalidDependencies` for all but names of services, separated by spaces.
pub fn read_dependencies(value: &str) -> Result<Vec<ServiceName>, InvalidDependencies> {
    let mut names: Vec<ServiceName> = vec![];
    for word in value.split(' ').filter(|word| !word.is_empty()) {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !word.bytes().all(is_part) {
            return Err(InvalidDependencies(value.to_owned()));
        }
        let name = ServiceName::from(word);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match names.is_empty() {
        true => Err(InvalidDependencies(value.to_owned())),
        false => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_names_of_services_separated_by_spaces_each_once() {
        let read = |value: &str| {
            let names = read_dependencies(value);
            names.map(|names| names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read("db"), Ok(vec!["db".to_owned()]));
        assert_eq!(read(" db  cache_2 db"), Ok(vec!["db".to_owned(), "cache_2".to_owned()]));
        for value in ["", " ", "db,cache", "a/b", "a:b", "d\u{e9}"] {
            assert!(read(value).is_err(), "{value}");
            let tags = [(DEPENDS_ON_TAG.to_owned(), value.to_owned())].into();
            assert_eq!(dependencies_of(&tags), []);
        }
    }
}
