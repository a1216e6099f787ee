//! `berth image ls`: lists the images that are there, and which hosts have them.
//!
//! Owns the columns. Shell, but for the rendering, which is pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use berth_agent::image::{self, ListedImage, SHARED_NAMESPACE};
use berth_agent::runtime::containerd::Containerd;
use clap::Args;
use serde::Serialize;

use super::PlaceArguments;
use crate::output::{self, Format};
use crate::table::Table;

/// Digits of a digest that are shown, as Docker does.
const DIGEST_SHOWN: usize = 12;

/// Flags of `berth image ls`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// As a table, or as a JSON array with one object per image and namespace
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// An image in a namespace.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    digest: String,
    size_bytes: Option<u64>,
    containerd_namespace: String,
    /// The host whose namespace it is, if it is that of one.
    host: Option<String>,
}

/// Prints the images.
///
/// # Errors
/// If containerd cannot be asked.
pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let place = arguments.place.find()?;
    let containerd = Containerd::connect(&place.socket).await?;
    let refused = || format!("containerd at {} refuses", place.socket.display());
    let client = containerd.client(SHARED_NAMESPACE)?;
    let mut rows = Vec::new();
    for namespace in image::namespaces(&client).await.with_context(refused)? {
        let client = containerd.client(&namespace)?;
        let images = image::images(&client).await.with_context(refused)?;
        let host = host_of(&namespace, &place.namespaces);
        rows.extend(images.into_iter().map(|image| row(image, &namespace, host.as_ref())));
    }
    if arguments.format == Format::Json {
        return output::line(&serde_json::to_string_pretty(&rows)?);
    }
    output::line(&table(&rows).render(output::width()))?;
    if rows.is_empty() {
        output::complain(&format!(
            "containerd at {} has no images; `berth image import FILE` brings one in, and a task's image is fetched from its registry",
            place.socket.display()
        ));
    }
    Ok(())
}

fn row(image: ListedImage, namespace: &str, host: Option<&String>) -> Row {
    Row {
        name: image.name,
        digest: image.digest,
        size_bytes: image.size,
        containerd_namespace: namespace.to_owned(),
        host: host.cloned(),
    }
}

/// `host-1` of `berth-dev7480-host-1`, if that is a namespace of the development cluster's hosts.
fn host_of(namespace: &str, of_hosts: &[String]) -> Option<String> {
    let is_of_a_host = of_hosts.iter().any(|of_host| of_host == namespace);
    let (_tag, host) = namespace.strip_prefix("berth-")?.split_once('-')?;
    is_of_a_host.then(|| host.to_owned())
}

/// An image in all its places.
#[derive(Default)]
struct Found {
    size: Option<u64>,
    places: Vec<String>,
}

/// One row for each image, with all places that have it.
fn table(rows: &[Row]) -> Table {
    let mut images: BTreeMap<(&str, &str), Found> = BTreeMap::new();
    for row in rows {
        let found = images.entry((&row.name, &row.digest)).or_default();
        found.size = found.size.or(row.size_bytes);
        found.places.push(match &row.host {
            Some(host) => host.clone(),
            None if row.containerd_namespace == SHARED_NAMESPACE => "every host (berth)".to_owned(),
            None => format!("namespace {}", row.containerd_namespace),
        });
    }
    let mut table = Table::new(&["IMAGE", "DIGEST", "SIZE", "WHERE"]);
    for ((name, digest), found) in images {
        let hexadecimal = digest.split_once(':').map_or(digest, |(_, rest)| rest);
        table.row([
            name.to_owned(),
            hexadecimal.get(..DIGEST_SHOWN).unwrap_or(hexadecimal).to_owned(),
            found.size.map(human_size).unwrap_or_default(),
            found.places.join(", "),
        ]);
    }
    table
}

/// Bytes in the largest unit that leaves at least one, with one digit after the point.
fn human_size(bytes: u64) -> String {
    let mut unit = 1;
    for name in ["B", "KiB", "MiB"] {
        if bytes / unit < 1024 {
            return in_unit(bytes, unit, name);
        }
        unit *= 1024;
    }
    in_unit(bytes, unit, "GiB")
}

fn in_unit(bytes: u64, unit: u64, name: &str) -> String {
    if unit == 1 {
        return format!("{bytes}{name}");
    }
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    format!("{}.{}{name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_namespace(namespace: &str) -> Row {
        let image = ListedImage {
            name: "docker.io/library/web:1".to_owned(),
            digest: "sha256:0123456789abcdef0123456789abcdef".to_owned(),
            size: Some(3 * 1024 * 1024 / 2),
        };
        let hosts = ["berth-dev7480-host-1".to_owned(), "berth-dev7480-host-2".to_owned()];
        row(image, namespace, host_of(namespace, &hosts).as_ref())
    }

    #[test]
    fn image_that_several_hosts_have_is_one_row() {
        let rows = ["berth", "default", "berth-dev7480-host-1", "berth-dev7480-host-2"].map(in_namespace);
        let text = table(&rows).render(None);
        assert_eq!(
            text.lines().nth(1).expect("a row"),
            "docker.io/library/web:1  0123456789ab  1.5MiB  every host (berth), namespace default, host-1, host-2"
        );
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        let found = [0, 1023, 1024, 1_048_575, 1_048_576, 5 << 30, 3 << 40].map(human_size);
        assert_eq!(
            found,
            ["0B", "1023B", "1.0KiB", "1023.9KiB", "1.0MiB", "5.0GiB", "3072.0GiB"]
        );
    }
}
