//! What is refused, and the texts that people and models read.

use serde_json::{Value, json};

use super::*;

mod hostile;
mod keywords;

fn verdict(schema: &Value, value: &Value) -> bool {
    match Schema::new(schema) {
        Ok(compiled) => compiled.check(value).is_ok(),
        Err(error) => panic!("{schema}: {error}"),
    }
}

#[test]
fn a_schema_of_a_wrong_shape_is_refused_with_its_place() {
    let cases = [
        (
            json!({"properties": {"n": {"type": "text"}}}),
            "/properties/n/type: \"text\" is not a type",
        ),
        (json!(5), "5 is no schema: object or boolean expected"),
        (
            json!({"allOf": [true, "x"]}),
            "/allOf/1: \"x\" is no schema: object or boolean expected",
        ),
        (
            json!({"items": [true]}),
            "/items: a list of schemas is called `prefixItems`",
        ),
        (
            json!({"$defs": {"a/b": {"minLength": -1}}}),
            "/$defs/a~1b/minLength: -1 is not what is expected: an integer of at least 0",
        ),
        (
            json!({"$ref": "#/$defs/x"}),
            "/$ref: \"#/$defs/x\" points to nothing in the schema",
        ),
        (json!({"$ref": "#x"}), "/$ref: no `$anchor` is \"x\""),
        (
            json!({"$ref": "#/$defs/%zz", "$defs": {"%zz": true}}),
            "/$ref: \"#/$defs/%zz\" points to nothing in the schema",
        ),
        (
            json!({"x": {"a": {"type": 1}}, "$ref": "#/x/a"}),
            "/x/a/type: 1 is not a type",
        ),
        (
            json!({"not": {"$id": "other"}}),
            "/not/$id: an `$id` below the root is not supported",
        ),
        (
            json!({"items": {"$dynamicRef": "#a"}}),
            "/items/$dynamicRef: dynamic references are not supported",
        ),
        (
            json!({"$dynamicAnchor": "a"}),
            "/$dynamicAnchor: dynamic references are not supported",
        ),
        (
            json!({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}),
            "/$defs/b/$anchor: \"x\" is used twice",
        ),
        (
            json!({"items": {"pattern": "(?=x)"}}),
            "/items/pattern: the pattern \"(?=x)\" cannot be used: look-around is not supported",
        ),
        (
            json!({"patternProperties": {"a/[": true}}),
            "/patternProperties/a~1[: the pattern \"a/[\" cannot be used: ",
        ),
    ];
    for (schema, text) in cases {
        match Schema::new(&schema) {
            Err(Error::Invalid(error)) => {
                assert!(error.starts_with(text), "{schema}: {error}");
            }
            other => panic!("{schema}: {other:?}"),
        }
    }
}

#[test]
fn every_shape_is_checked() {
    let wrong = [
        ("type", json!([[], ["string", "string"], null, ["x"], {}])),
        ("enum", json!([1, {}])),
        ("multipleOf", json!([0, -1, "1"])),
        ("minimum", json!(["1", true])),
        ("exclusiveMinimum", json!([true])),
        ("maximum", json!([null])),
        ("exclusiveMaximum", json!([true])),
        ("minLength", json!([-1, 1.5, "1"])),
        ("maxLength", json!([-1])),
        ("minItems", json!([-1])),
        ("maxItems", json!([0.5])),
        ("minProperties", json!([null])),
        ("maxProperties", json!([[]])),
        ("minContains", json!([-1])),
        ("maxContains", json!(["x"])),
        ("pattern", json!([1, "(", "\\p{L}", "(a)\\1"])),
        ("uniqueItems", json!([1])),
        ("readOnly", json!(["yes"])),
        ("required", json!(["a", ["a", "a"], [1]])),
        (
            "dependentRequired",
            json!([[], {"a": "b"}, {"a": ["b", "b"]}]),
        ),
        ("properties", json!([[], {"a": 1}])),
        ("patternProperties", json!([[], {"(": true}, {"a": null}])),
        ("additionalProperties", json!([[], 1])),
        ("propertyNames", json!([null])),
        ("dependentSchemas", json!([[], {"a": []}])),
        ("prefixItems", json!([[], {}, [1]])),
        ("items", json!([1])),
        ("contains", json!([1])),
        ("unevaluatedItems", json!([1])),
        ("unevaluatedProperties", json!([1])),
        ("allOf", json!([[], {}, [1]])),
        ("anyOf", json!([[], {}, [1]])),
        ("oneOf", json!([[], {}, [1]])),
        ("not", json!([1])),
        ("if", json!([1])),
        ("then", json!([1])),
        ("else", json!([1])),
        ("$ref", json!([1])),
        ("$anchor", json!([1, "", "1a", "a b"])),
        ("$defs", json!([[], {"a": 1}])),
        ("definitions", json!([{"a": 1}])),
        ("$id", json!([1])),
        ("title", json!([1])),
        ("examples", json!([1])),
    ];
    for (keyword, values) in wrong {
        for value in values.as_array().unwrap() {
            let schema = json!({ keyword: value });
            match Schema::new(&schema) {
                Err(Error::Invalid(text)) => {
                    assert!(text.starts_with(&format!("/{keyword}")), "{schema}: {text}");
                }
                other => panic!("{schema}: {other:?}"),
            }
        }
    }
}

#[test]
fn findings_help_to_repair_the_value() {
    let union = json!({"anyOf": [
        {"type": "null"},
        {"properties": {"kind": {"const": "a"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
        {"properties": {"kind": {"const": "b"}, "s": {"type": "string"}}, "required": ["kind", "s"]}
    ], "type": ["object", "null"]});
    let cases = [
        (
            json!({"properties": {"n": {"type": "integer"}}}),
            json!({"n": "x"}),
            "/n: \"x\" is not of type integer",
        ),
        (
            json!({"type": ["string", "null"]}),
            json!([1]),
            "[1] is not of type null or string",
        ),
        (
            json!({"required": ["name", "age"]}),
            json!({}),
            "\"name\" is a required property; \"age\" is a required property",
        ),
        (
            json!({"properties": {"tags": {"maxItems": 3}}}),
            json!({"tags": [1, 2, 3, 4]}),
            "/tags: has more than 3 items",
        ),
        (
            json!({"properties": {"a": true}, "additionalProperties": false}),
            json!({"a": 1, "b/c": 1}),
            "/b~1c: is not allowed",
        ),
        (
            json!({"items": {"enum": ["red", "green"]}}),
            json!(["red", "blue"]),
            "/1: \"blue\" is not one of \"red\", \"green\"",
        ),
        (
            json!({"items": {"minimum": 1, "multipleOf": 2}}),
            json!([0, 3]),
            "/0: 0 is less than 1; /1: 3 is not a multiple of 2",
        ),
        (
            json!({"pattern": "^[a-z]+$"}),
            json!("A1"),
            "\"A1\" does not match the pattern ^[a-z]+$",
        ),
        (
            json!({"uniqueItems": true}),
            json!([1, 2, 1.0]),
            "the items 0 and 2 are equal",
        ),
        (
            json!({"propertyNames": {"maxLength": 2}}),
            json!({"abc": 1}),
            "the property name \"abc\" is refused: has more than 2 characters",
        ),
        (
            json!({"contains": {"const": 1}}),
            json!([2]),
            "has 0 items that match `contains`; at least 1 expected",
        ),
        (
            json!({"dependentRequired": {"a": ["b"]}}),
            json!({"a": 1}),
            "\"b\" is a required property beside \"a\"",
        ),
        (
            json!({"oneOf": [true, false, true]}),
            json!(1),
            "matches more than one alternative (numbers 1 and 3); exactly one expected",
        ),
        (
            json!({"not": {"type": "null"}}),
            json!(null),
            "is what it must not be (`not`)",
        ),
        // The alternative that the type or the constant points to is explained.
        (
            union.clone(),
            json!({"kind": "b", "s": 1}),
            "/s: 1 is not of type string",
        ),
        (
            union.clone(),
            json!({"kind": "c"}),
            "{\"kind\":\"c\"} matches none of 3 alternatives",
        ),
        (
            json!({"items": {"type": "integer"}}),
            json!(["a", "b", "c", "d", "e", "f", "g"]),
            "/0: \"a\" is not of type integer; /1: \"b\" is not of type integer; /2: \"c\" is not of type integer; \
             /3: \"d\" is not of type integer; /4: \"e\" is not of type integer",
        ),
    ];
    for (schema, value, findings) in cases {
        assert_eq!(
            Schema::new(&schema).unwrap().check(&value),
            Err(findings.to_owned()),
            "{schema}"
        );
    }
}

#[test]
fn findings_are_short_however_long_the_value_is() {
    let schema =
        json!({"additionalProperties": {"type": "integer"}, "required": ["r".repeat(9000)]});
    let value = json!({"é".repeat(50_000): "é".repeat(50_000), "b": {"c": ["x".repeat(500), 1]}});
    let findings = Schema::new(&schema).unwrap().check(&value).unwrap_err();
    assert!(findings.chars().count() < 600, "{findings}");
    assert!(findings.contains(&format!(
        "/{}…: \"{}… is not of type",
        "é".repeat(100),
        "é".repeat(59)
    )));
}

#[test]
fn large_honest_values_are_checked_to_the_end() {
    let schema = json!({
        "type": "array",
        "uniqueItems": true,
        "items": {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "minimum": 0},
                "name": {"type": "string", "pattern": "^[a-z0-9 -]{1,40}$"},
                "kind": {"enum": ["a", "b", "c"]}
            },
            "required": ["id", "name", "kind"],
            "additionalProperties": false
        }
    });
    let items: Vec<Value> = (0..5_000)
        .map(|n| json!({"id": n, "name": format!("the item {n}"), "kind": "b"}))
        .collect();
    assert_eq!(Schema::new(&schema).unwrap().check(&json!(items)), Ok(()));
}

#[test]
fn a_schema_may_not_be_too_large() {
    assert!(matches!(
        check(&json!({"description": "x".repeat(40_000)})),
        Err(Error::TooLarge(_))
    ));
}

#[test]
fn a_schema_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Schema>();
}

#[test]
fn findings_name_their_place() {
    let schema = Schema::new(
        &json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
    )
    .unwrap();
    assert_eq!(schema.check(&json!({"n": 1})), Ok(()));
    assert!(
        schema
            .check(&json!({"n": "x"}))
            .unwrap_err()
            .starts_with("/n: ")
    );
    assert!(schema.check(&json!({})).is_err());
}

#[test]
fn schemas_may_not_reach_outside() {
    assert!(matches!(
        check(&json!({"$ref": "https://example.com/s.json"})),
        Err(Error::Remote(_))
    ));
    assert!(matches!(
        check(&json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}})),
        Err(Error::Remote(_))
    ));
    assert!(check(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}})).is_ok());
    assert!(matches!(
        check(&json!({"type": "nothing"})),
        Err(Error::Invalid(_))
    ));
}
