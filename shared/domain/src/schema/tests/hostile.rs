//! Schemas and values that are meant to hurt.

use serde_json::{Value, json};

use super::verdict;
use crate::schema::Schema;

#[test]
fn endless_references_are_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"not": {"$ref": "#"}}),
        json!({"if": true, "else": {"$ref": "#"}}),
        json!({"dependentSchemas": {"a": {"$ref": "#"}}}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#b"}]}, "b": {"$anchor": "b", "$ref": "#/$defs/a"}}}),
        json!({"$defs": {"a": {"$ref": "#/$defs/a"}}}),
    ] {
        let error = Schema::new(&schema).unwrap_err().to_string();
        assert!(
            error.ends_with("refers to itself for the same value, without end"),
            "{schema}: {error}"
        );
    }
}

/// `a0` refers to `a1` in each way of `wrap`, and so on to `a{count}`.
fn chain(count: usize, wrap: impl Fn(Value) -> Value) -> Value {
    let mut definitions: serde_json::Map<String, Value> = (0..count)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
            (format!("a{n}"), wrap(next))
        })
        .collect();
    definitions.insert(format!("a{count}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/a0", "$defs": definitions})
}

#[test]
fn long_chains_are_refused_without_a_deep_stack() {
    assert!(verdict(&chain(30, |next| next), &json!("x")));
    let error = Schema::new(&chain(600, |next| next)).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("too many references and combinations inside each other"),
        "{error}"
    );
}

/// Compiles and checks on a small stack, as a worker's thread has. Without a bound of steps it would take hours.
fn survives(schema: Value, value: Value) -> Result<(), String> {
    std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(move || {
            let schema = Schema::new(&schema).map_err(|error| error.to_string())?;
            schema.check(&value)
        })
        .unwrap()
        .join()
        .unwrap()
}

#[test]
fn exponential_schemas_run_out_of_steps() {
    let too_many = Err("checking takes too many steps; give a smaller value".to_owned());
    for (schema, value) in [
        (
            chain(25, |next| json!({"allOf": [next.clone(), next]})),
            json!("x"),
        ),
        (
            chain(25, |next| json!({"anyOf": [next.clone(), next]})),
            json!(1),
        ),
        (
            chain(25, |next| json!({"oneOf": [next.clone(), next]})),
            json!(1),
        ),
        (
            chain(25, |next| json!({"if": next, "then": next, "else": next})),
            json!("x"),
        ),
    ] {
        assert_eq!(survives(schema, value), too_many);
    }
    let twice = json!({"items": {"$ref": "#"}});
    let twice = json!({"allOf": [twice, twice]});
    assert_eq!(survives(twice, nested(100)), too_many);
}

/// `1` in so many arrays.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |value, _| json!([value]))
}

#[test]
fn deep_values_stay_within_the_stack() {
    let value = nested(126);
    let tree = json!({"type": ["array", "number"], "items": {"$ref": "#"}});
    assert_eq!(survives(tree, value.clone()), Ok(()));
    let union = json!({"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#"}}]});
    assert_eq!(survives(union, value.clone()), Ok(()));
    // More schemas a level than a value of this depth may have.
    let mut step = chain(20, |next| json!({"allOf": [next]}));
    step["$defs"]["a20"] = json!({"items": {"$ref": "#"}});
    assert_eq!(
        survives(step, value.clone()),
        Err("is nested too deeply to be checked".to_owned())
    );
    assert_eq!(
        survives(
            json!({"uniqueItems": true, "not": {"const": 1}}),
            json!([value.clone(), value])
        ),
        Err("the items 0 and 1 are equal".to_owned())
    );
}

#[test]
fn hostile_patterns_are_bounded() {
    for pattern in [
        "(a{1000}){1000}",
        "((((a{9}){9}){9}){9}){9}",
        "(((x{0}){1000}){1000}){1000}",
    ] {
        let error = Schema::new(&json!({"pattern": pattern})).unwrap_err();
        assert!(error.to_string().contains("cannot be used"), "{error}");
    }
    assert!(
        Schema::new(&json!({"pattern": format!("{}{}", "(".repeat(3000), ")".repeat(3000))}))
            .is_err()
    );
    let groups: Vec<Value> = (0..20)
        .map(|n| json!({"pattern": format!("{n}{}", "()".repeat(300))}))
        .collect();
    let error = Schema::new(&json!({"anyOf": groups})).unwrap_err();
    assert!(error.to_string().contains("too much memory"), "{error}");

    let long = "a".repeat(100_000);
    assert!(verdict(&json!({"pattern": "^(a|a)*$"}), &json!(long)));
    assert!(survives(json!({"pattern": "(a|b|ab)*(a{0,99}b){9}"}), json!(long)).is_err());
    let patterns: Vec<Value> = (0..500)
        .map(|n| json!({"pattern": format!("a*{n}")}))
        .collect();
    assert!(survives(json!({"anyOf": patterns}), json!(long)).is_err());
}
