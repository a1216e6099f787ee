//! `docs/aws-coverage.md`: the page that says which operations have behaviour, made from the table in [`super::dispatch`]. Built for
//! tests alone, one of which compares the page with the table. Pure but for that test.

use super::{dispatch, unsupported};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/aws-coverage.md");
/// Set to rewrite the page.
const REWRITE: &str = "BERTH_REWRITE_DOCS";

fn page() -> String {
    let mut page = String::from(
        "# AWS coverage\n\n\
         Written from the table of operations in `controller/src/api/dispatch.rs`; a test holds the two together. To write it anew:\n\n\
         ```\n\
         BERTH_REWRITE_DOCS=1 cargo test -p berth-controller coverage\n\
         ```\n\n\
         An operation that is not ticked is answered with `NotImplementedException`, its name and, where it is not to come, the reason. A\n\
         member of a request that is not honoured is refused by its name, never ignored; so what an operation accepts, it does.\n\n\
         | service | operations | with behaviour | not to come, each with its reason |\n\
         | --- | --- | --- | --- |\n",
    );
    let mut lists = String::new();
    for service in berth_aws::SERVICES {
        let operations = service.operations;
        let served = |name: &str| {
            operations
                .iter()
                .any(|o| o.name == name && dispatch::find(service, o).is_some())
        };
        let count = operations.iter().filter(|o| served(o.name)).count();
        let not_to_come = operations.iter().filter(|o| unsupported::reason(service, o).is_some());
        let row = format!(
            "| {} | {} | {count} | {} |\n",
            service.name,
            operations.len(),
            not_to_come.count()
        );
        page.push_str(&row);
        lists.push_str(&format!("\n## {}\n\n", service.name));
        for operation in operations {
            let tick = if served(operation.name) { 'x' } else { ' ' };
            let why = unsupported::reason(service, operation).map_or_else(String::new, |why| format!(": {why}"));
            lists.push_str(&format!("- [{tick}] {}{why}\n", operation.name));
        }
    }
    page + &lists
}

#[test]
fn coverage_page_says_what_the_table_says() {
    let page = page();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(PAGE, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differing = written.lines().zip(page.lines()).find(|(is, should)| is != should);
    assert!(
        written == page,
        "docs/aws-coverage.md is not what the table of operations says (first difference: {differing:?}); \
         run `{REWRITE}=1 cargo test -p berth-controller coverage`"
    );
}
