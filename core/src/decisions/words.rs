//! Strategies, constraints and ports as words: `spread=attribute:ecs.availability-zone`, `memberOf=EXPRESSION`, `8080/tcp`. Pure.

use crate::model::{
    BinpackResource, PlacementConstraint, PlacementExtension, PlacementStrategy, Ports, TransportProtocol,
};
use crate::placement::SpreadField;
use crate::placement::query_language::Expression;

pub(super) fn of_strategy(strategy: &PlacementStrategy) -> String {
    match strategy {
        PlacementStrategy::Random => "random".to_owned(),
        PlacementStrategy::Spread { field } => format!("spread={field}"),
        PlacementStrategy::Binpack { resource } => match resource {
            BinpackResource::Cpu => "binpack=cpu".to_owned(),
            BinpackResource::Memory => "binpack=memory".to_owned(),
        },
        PlacementStrategy::Extension { extension } => format!("binpack={}", extension.field()),
    }
}

pub(super) fn strategy(word: &str) -> Option<PlacementStrategy> {
    match word.split_once('=') {
        None => (word == "random").then_some(PlacementStrategy::Random),
        Some(("spread", field)) => SpreadField::parse(field).map(|_| PlacementStrategy::Spread {
            field: field.to_owned(),
        }),
        Some(("binpack", field)) => match field {
            "cpu" => Some(PlacementStrategy::Binpack {
                resource: BinpackResource::Cpu,
            }),
            "memory" => Some(PlacementStrategy::Binpack {
                resource: BinpackResource::Memory,
            }),
            _ => PlacementExtension::from_field(field).map(|extension| PlacementStrategy::Extension { extension }),
        },
        Some(_) => None,
    }
}

pub(super) fn of_constraint(constraint: &PlacementConstraint) -> String {
    match constraint {
        PlacementConstraint::DistinctInstance => "distinctInstance".to_owned(),
        PlacementConstraint::MemberOf { expression } => format!("memberOf={expression}"),
        PlacementConstraint::Attribute { name, values } => {
            let words = std::iter::once(name.as_str()).chain(values.iter().map(String::as_str));
            format!("attribute={}", words.collect::<Vec<_>>().join(","))
        }
    }
}

pub(super) fn constraint(word: &str) -> Option<PlacementConstraint> {
    match word.split_once('=') {
        Some(("memberOf", expression)) => {
            let parsed = expression.parse::<Expression>();
            parsed.is_ok().then(|| PlacementConstraint::MemberOf {
                expression: expression.to_owned(),
            })
        }
        Some(("attribute", words)) => {
            let mut words = words.split(',').map(str::to_owned);
            let name = words.next().filter(|name| !name.is_empty())?;
            let values = words.collect();
            let constraint = PlacementConstraint::Attribute { name, values };
            let is_one = constraint.expression()?.parse::<Expression>().is_ok();
            is_one.then_some(constraint)
        }
        _ => (word == "distinctInstance").then_some(PlacementConstraint::DistinctInstance),
    }
}

pub(super) fn of_ports(ports: &Ports) -> Vec<String> {
    ports.iter().map(|(protocol, port)| protocol.port(*port)).collect()
}

pub(super) fn port(word: &str) -> Option<(TransportProtocol, u16)> {
    let (port, protocol) = word.split_once('/')?;
    let protocol = match protocol {
        "tcp" => TransportProtocol::Tcp,
        "udp" => TransportProtocol::Udp,
        _ => return None,
    };
    Some((protocol, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_what_they_were_written_for() {
        let mut strategies: Vec<PlacementStrategy> = PlacementExtension::ALL
            .map(|extension| PlacementStrategy::Extension { extension })
            .to_vec();
        for resource in [BinpackResource::Cpu, BinpackResource::Memory] {
            strategies.push(PlacementStrategy::Binpack { resource });
        }
        strategies.push(PlacementStrategy::Random);
        for field in ["instanceId", "attribute:ecs.availability-zone"] {
            strategies.push(PlacementStrategy::Spread {
                field: field.to_owned(),
            });
        }
        for one in strategies {
            assert_eq!(strategy(&of_strategy(&one)), Some(one));
        }
        let member_of = PlacementConstraint::MemberOf {
            expression: "attribute:stack == prod".to_owned(),
        };
        let attribute = |values: &[&str]| PlacementConstraint::Attribute {
            name: "ecs.subnet-id".to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let (any, some) = (attribute(&[]), attribute(&["subnet-a", "subnet-b"]));
        for one in [PlacementConstraint::DistinctInstance, member_of, any, some] {
            assert_eq!(constraint(&of_constraint(&one)), Some(one));
        }
        let ports = Ports::from([(TransportProtocol::Tcp, 80), (TransportProtocol::Udp, 53)]);
        let words = of_ports(&ports);
        assert_eq!(words.iter().filter_map(|word| port(word)).collect::<Ports>(), ports);
    }

    #[test]
    fn words_that_say_nothing_are_refused() {
        for word in ["", "spread=zone", "binpack=gpu", "worst-fit", "random=1"] {
            assert_eq!(strategy(word), None, "{word}");
        }
        for word in [
            "",
            "memberOf=",
            "memberOf=((",
            "affinity",
            "attribute=",
            "attribute=a,((",
            "attribute=a b",
        ] {
            assert_eq!(constraint(word), None, "{word}");
        }
        for word in ["", "80", "80/sctp", "70000/tcp", "/tcp"] {
            assert_eq!(port(word), None, "{word}");
        }
    }
}
