//! `ListServicesByNamespace`: there is no Service Connect, so that no namespace is known. Shell.

use berth_aws::AwsError;
use berth_aws::ecs::errors as ecs;
use berth_aws::ecs::{ListServicesByNamespaceRequest, ListServicesByNamespaceResponse};

use crate::api::context::{Api, Call};
use crate::api::errors::invalid;
use crate::api::pagination::Page;

/// Services of a page where the request does not say (ECS: 10).
const DEFAULT_PAGE: i32 = 10;

pub(crate) async fn handle(
    _api: &Api,
    _call: &Call,
    input: ListServicesByNamespaceRequest,
) -> Result<ListServicesByNamespaceResponse, AwsError> {
    let (token, size) = (input.next_token.as_deref(), input.max_results);
    Page::<String>::parse("ListServicesByNamespace", token, size, DEFAULT_PAGE)?;
    match input.namespace.filter(|namespace| !namespace.is_empty()) {
        None => Err(invalid("Namespace cannot be empty.")),
        Some(namespace) => Err(ecs::NAMESPACE_NOT_FOUND.error(format!(
            "The specified namespace {namespace} was not found: Berth has no Service Connect."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use berth_aws::ecs::operations::ListServicesByNamespace;
    use serde_json::json;

    use crate::api::testing::Harness;

    #[tokio::test]
    async fn namespace_is_unknown_whatever_its_name() {
        let harness = Harness::new();
        for (namespace, code) in [
            ("internal", "NamespaceNotFoundException"),
            ("", "InvalidParameterException"),
        ] {
            let input = json!({"namespace": namespace});
            let error = harness
                .call::<ListServicesByNamespace>(input)
                .await
                .expect_err("refused");
            assert_eq!(error.kind.code, code);
            assert!(error.message.contains(namespace), "{}", error.message);
        }
        let input = json!({"namespace": "internal", "nextToken": "nobody's"});
        let error = harness
            .call::<ListServicesByNamespace>(input)
            .await
            .expect_err("refused");
        assert_eq!(error.message, "Invalid token.");
    }
}
