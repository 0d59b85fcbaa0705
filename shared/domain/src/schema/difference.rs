//! Random schemas and values, on which this validator and the `jsonschema` crate must agree.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::*;

const NAMES: [&str; 5] = ["a", "b", "c", "x1", "ö"];
/// Those that mean the same to both: `regex-lite` takes `\d`, `\w` and `\s` for ASCII, and knows no look-around.
const PATTERNS: [&str; 10] = [
    "a",
    "^a",
    "b$",
    "^[a-c]+$",
    r"x\d",
    "^(a|b)*$",
    "^.{2,3}$",
    "ö",
    "^$",
    r"^[^\W\d]",
];

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-2..6_i64).prop_map(Value::from),
        2 => (-2..6_i8).prop_map(|n| json!(f64::from(n))),
        2 => (-4..12_i8).prop_map(|n| json!(f64::from(n) / 2.0)),
        1 => select(vec![
            json!(0.1), json!(0.3), json!(19.99), json!(1e20), json!(u64::MAX), json!(i64::MIN), json!(-0.0),
            json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0), json!(1e300), json!(1e-7),
        ]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => number(),
        3 => select(vec!["", "a", "b", "c", "ab", "bab", "x1", "ö", "äöü", "abcd"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            object(&NAMES, inner),
        ]
    })
}

/// An object of some of `names`.
fn object(
    names: &'static [&'static str],
    member: impl Strategy<Value = Value> + Clone + 'static,
) -> impl Strategy<Value = Value> + Clone {
    subsequence(names, 0..=names.len().min(4))
        .prop_flat_map(move |names| {
            let members: Vec<_> = names.iter().map(|_| member.clone()).collect();
            (Just(names), members)
        })
        .prop_map(|(names, members)| {
            let names = names.into_iter().map(str::to_owned);
            Value::Object(names.zip(members).collect())
        })
        .boxed()
}

fn names() -> impl Strategy<Value = Value> + Clone {
    subsequence(&NAMES, 0..3).prop_map(|names| json!(names))
}

/// One keyword that contains no schema.
fn assertion() -> BoxedStrategy<(&'static str, Value)> {
    let kind = || select(plan::KINDS.to_vec());
    let numeric = || {
        select(vec![
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
        ])
    };
    let size = || {
        select(vec![
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "minContains",
            "maxContains",
        ])
    };
    prop_oneof![
        4 => kind().prop_map(|kind| ("type", json!(kind))),
        2 => subsequence(&plan::KINDS, 1..4).prop_map(|kinds| ("type", json!(kinds))),
        2 => prop::collection::vec(value(), 0..4).prop_map(|values| ("enum", json!(values))),
        1 => value().prop_map(|value| ("const", value)),
        1 => select(vec![json!(1), json!(2), json!(2.0), json!(0.5), json!(1.5), json!(0.1), json!(0.01)])
            .prop_map(|by| ("multipleOf", by)),
        2 => (numeric(), number()),
        3 => (size(), (0..4_u8).prop_map(Value::from)),
        2 => select(&PATTERNS).prop_map(|pattern| ("pattern", json!(pattern))),
        1 => any::<bool>().prop_map(|unique| ("uniqueItems", json!(unique))),
        2 => names().prop_map(|names| ("required", names)),
        1 => object(&NAMES, names()).prop_map(|lists| ("dependentRequired", lists)),
        1 => select(vec!["format", "title", "x-unknown"]).prop_map(|name| (name, json!("date"))),
    ]
    .boxed()
}

/// One keyword out of schemas.
fn applicator(
    schema: impl Strategy<Value = Value> + Clone + 'static,
) -> BoxedStrategy<(&'static str, Value)> {
    let one = select(vec![
        "items",
        "contains",
        "additionalProperties",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
        "unevaluatedItems",
        "unevaluatedProperties",
    ]);
    let list = select(vec!["prefixItems", "allOf", "anyOf", "oneOf"]);
    let named = select(vec!["properties", "dependentSchemas"]);
    prop_oneof![
        5 => (one, schema.clone()),
        4 => (list, prop::collection::vec(schema.clone(), 1..4).prop_map(Value::from)),
        4 => (named, object(&NAMES, schema.clone())),
        1 => object(&PATTERNS, schema).prop_map(|schemas| ("patternProperties", schemas)),
        1 => select(vec!["#", "#/$defs/a", "#/$defs/%62", "#/$defs/c~1c", "#anchor"])
            .prop_map(|target| ("$ref", json!(target))),
    ]
    .boxed()
}

fn merged(keywords: Vec<(&'static str, Value)>) -> Value {
    let keywords = keywords
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(keywords.collect())
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Value::from),
        8 => prop::collection::vec(assertion(), 0..3).prop_map(merged),
    ];
    let inner = leaf.prop_recursive(3, 24, 3, |inner| {
        let keyword = prop_oneof![1 => assertion(), 3 => applicator(inner)];
        prop::collection::vec(keyword, 1..5).prop_map(merged)
    });
    let inner = inner.boxed();
    let root = prop_oneof![1 => assertion(), 4 => applicator(inner.clone())];
    (
        prop::collection::vec(root, 1..5).prop_map(merged),
        [inner.clone(), inner.clone(), inner.clone(), inner],
    )
        .prop_map(|(mut root, [a, b, c, d])| {
            let anchored = json!({"$anchor": "anchor", "allOf": [d]});
            root["$defs"] = json!({"a": a, "b": b, "c/c": c, "d": anchored});
            root
        })
}

/// Whether the other one may round: it divides by a fraction in floating point, and so finds 2^64 - 1 no multiple of 1.5.
fn rounds(schema: &Value, value: &Value) -> bool {
    let value = value.to_string();
    schema.to_string().contains("multipleOf")
        && [
            "18446744073709551615",
            "-9223372036854775808",
            "900719925474099",
            "e+",
        ]
        .iter()
        .any(|large| value.contains(large))
}

fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        config.cases
    } else {
        512
    };
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn both_validators_agree(schema in schema(), values in prop::collection::vec(value(), 8)) {
        let ours = match Schema::new(&schema) {
            Ok(ours) => ours,
            // The other one recurses until the stack is full, or lets such a reference pass.
            Err(error) if error.to_string().ends_with("without end") => return Ok(()),
            Err(error) => panic!("{schema}: {error}"),
        };
        let theirs = jsonschema::draft202012::new(&schema).unwrap();
        for value in values {
            if rounds(&schema, &value) {
                continue;
            }
            let findings = ours.check(&value);
            prop_assert_eq!(
                findings.is_ok(), theirs.is_valid(&value),
                "{} {} {:?}", schema, value, findings
            );
        }
    }
}
