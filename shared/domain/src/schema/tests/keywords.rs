//! Examples of every keyword.

use serde_json::json;

use super::verdict;

/// Each schema with values that match and values that do not.
#[test]
fn every_keyword_does_what_the_specification_says() {
    let tree = json!({
        "$defs": {"node": {
            "type": "object",
            "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["name"]
        }},
        "$ref": "#/$defs/node"
    });
    let cases = [
        (json!(true), json!([1, null, {}]), json!([])),
        (json!(false), json!([]), json!([1, null, {}])),
        (
            json!({"type": "integer"}),
            json!([1, 1.0, -3, 1e300, u64::MAX]),
            json!([1.5, "1", null]),
        ),
        (json!({"type": "number"}), json!([1, 1.5]), json!(["1"])),
        (
            json!({"type": ["string", "null"]}),
            json!(["", null]),
            json!([1, [], {}]),
        ),
        (
            json!({"type": "boolean"}),
            json!([true, false]),
            json!([0, null]),
        ),
        (json!({"type": "array"}), json!([[]]), json!([{}])),
        (json!({"type": "object"}), json!([{}]), json!([[]])),
        (
            json!({"enum": [1, "a", {"b": [1.0, null]}]}),
            json!([1.0, "a", {"b": [1, null]}]),
            json!([2, "1", true, {"b": [null, 1]}, {"b": [1, null], "c": 1}]),
        ),
        (json!({"enum": []}), json!([]), json!([null])),
        (
            json!({"const": {"a": 1, "b": 2}}),
            json!([{"b": 2.0, "a": 1}]),
            json!([{"a": 1}, [1, 2]]),
        ),
        (
            json!({"const": ["a", "b"]}),
            json!([["a", "b"]]),
            json!([["ab"], ["a\"1:b"]]),
        ),
        (
            json!({"multipleOf": 0.1}),
            json!([0.3, 1, "x"]),
            json!([0.35]),
        ),
        (
            json!({"minimum": 1, "maximum": 2}),
            json!([1, 1.5, 2, "x"]),
            json!([0.99, 2.01]),
        ),
        (
            json!({"exclusiveMinimum": 1, "exclusiveMaximum": 2}),
            json!([1.5]),
            json!([1, 2.0]),
        ),
        (
            json!({"minLength": 2, "maxLength": 3.0}),
            json!(["äö", "🦀🦀🦀", 5]),
            json!(["ä", "abcd"]),
        ),
        (
            json!({"pattern": "b+$"}),
            json!(["aabb", 1]),
            json!(["bba", ""]),
        ),
        (
            json!({"minItems": 1, "maxItems": 2}),
            json!([[1], [1, 2], "x"]),
            json!([[], [1, 2, 3]]),
        ),
        (
            json!({"uniqueItems": true}),
            json!([[1, 2], [[1], [2]], ["1", 1], [1, true], [{"a": 1}, {"a": 2}]]),
            json!([[1, 1.0], [{"a": 1, "b": 2}, {"b": 2, "a": 1}], [[], 0, []]]),
        ),
        (json!({"uniqueItems": false}), json!([[1, 1]]), json!([])),
        (
            json!({"contains": {"type": "string"}}),
            json!([[1, "a"], {}]),
            json!([[], [1]]),
        ),
        (
            json!({"contains": {"type": "string"}, "minContains": 2, "maxContains": 3}),
            json!([["a", "b"], ["a", 1, "b", "c"]]),
            json!([["a"], ["a", "b", "c", "d"]]),
        ),
        (
            json!({"contains": false, "minContains": 0}),
            json!([[]]),
            json!([]),
        ),
        (json!({"minContains": 5}), json!([[]]), json!([])),
        (
            json!({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}),
            json!([[], ["a"], ["a", 1]]),
            json!([[1], ["a", "b"]]),
        ),
        (json!({"items": false}), json!([[]]), json!([[1]])),
        (
            json!({"minProperties": 1, "maxProperties": 1}),
            json!([{"a": 1}]),
            json!([{}, {"a": 1, "b": 2}]),
        ),
        (
            json!({"required": ["a", "b"]}),
            json!([{"a": 1, "b": 1}, 1]),
            json!([{"a": 1}, {}]),
        ),
        (
            json!({"dependentRequired": {"a": ["b"]}}),
            json!([{}, {"b": 1}, {"a": 1, "b": 1}]),
            json!([{"a": 1}]),
        ),
        (
            json!({
                "properties": {"a": {"type": "integer"}},
                "patternProperties": {"^x": {"type": "string"}},
                "additionalProperties": {"type": "null"}
            }),
            json!([{"a": 1, "x1": "", "b": null}]),
            json!([{"a": ""}, {"x1": 1}, {"b": 1}]),
        ),
        (
            json!({"properties": {"xa": {"minimum": 1}}, "patternProperties": {"^x": {"maximum": 2}}}),
            json!([{"xa": 1}]),
            json!([{"xa": 0}, {"xa": 3}]),
        ),
        (
            json!({"propertyNames": {"maxLength": 1}}),
            json!([{"a": 1}]),
            json!([{"ab": 1}]),
        ),
        (
            json!({"dependentSchemas": {"a": {"required": ["b"]}}}),
            json!([{}, {"a": 1, "b": 1}]),
            json!([{"a": 1}]),
        ),
        (
            json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}),
            json!([1]),
            json!([0, 3]),
        ),
        (
            json!({"anyOf": [{"type": "string"}, {"minimum": 5}]}),
            json!(["", 5]),
            json!([1]),
        ),
        (
            json!({"oneOf": [{"type": "integer"}, {"minimum": 5}]}),
            json!([1, 5.5]),
            json!([5, 1.5]),
        ),
        (json!({"not": {"type": "string"}}), json!([1]), json!(["a"])),
        (
            json!({"if": {"type": "string"}, "then": {"minLength": 1}, "else": {"minimum": 1}}),
            json!(["a", 1]),
            json!(["", 0]),
        ),
        (json!({"then": false, "else": false}), json!([1]), json!([])),
        (
            tree,
            json!([{"name": 1}, {"name": 1, "children": [{"name": 2, "children": []}]}]),
            json!([{}, {"name": 1, "children": [{"name": 2, "children": [{}]}]}]),
        ),
        (
            json!({"items": {"$ref": "#"}, "type": "array"}),
            json!([[], [[[]]]]),
            json!([[1]]),
        ),
        (
            json!({"$ref": "#/$defs/a~1b~0c%25%C3%A4", "$defs": {"a/b~c%ä": {"type": "null"}}}),
            json!([null]),
            json!([1]),
        ),
        (
            json!({"$ref": "#/allOf/1", "allOf": [true, {"maximum": 3}]}),
            json!([3]),
            json!([4]),
        ),
        (
            json!({"$ref": "#there", "minimum": 1, "definitions": {"x": {"$anchor": "there", "maximum": 3}}}),
            json!([1, 3]),
            json!([0, 4]),
        ),
        (
            json!({
                "allOf": [{"properties": {"a": true}}],
                "anyOf": [{"required": ["b"], "properties": {"b": true}}, true],
                "unevaluatedProperties": {"type": "null"}
            }),
            json!([{"a": 1, "c": null}, {"a": 1, "b": 1}]),
            json!([{"a": 1, "c": 1}]),
        ),
        (
            // A schema sees what lies in it, not what stands beside it.
            json!({"properties": {"a": true}, "allOf": [{"unevaluatedProperties": false}]}),
            json!([{}]),
            json!([{"a": 1}]),
        ),
        (
            json!({"not": {"not": {"properties": {"a": true}}}, "unevaluatedProperties": false}),
            json!([{}]),
            json!([{"a": 1}]),
        ),
        (
            json!({"$ref": "#p", "$defs": {"p": {"$anchor": "p", "properties": {"a": true}}}, "unevaluatedProperties": false}),
            json!([{"a": 1}]),
            json!([{"b": 1}]),
        ),
        (
            json!({
                "prefixItems": [true],
                "contains": {"type": "string"},
                "if": {"prefixItems": [true, {"const": 2}]},
                "unevaluatedItems": false
            }),
            json!([["a"], [1, "b"], [1, 2, "c"]]),
            json!([["a", 3], ["a", 2, 3]]),
        ),
        (
            json!({"format": "email", "default": 5, "title": "t", "$id": "https://a/b", "x-y": {"type": 5}}),
            json!(["no email"]),
            json!([]),
        ),
        (
            json!({"const": {"$ref": "https://example.com"}}),
            json!([{"$ref": "https://example.com"}]),
            json!([{}]),
        ),
    ];
    for (schema, valid, invalid) in cases {
        for value in valid.as_array().unwrap() {
            assert!(verdict(&schema, value), "{schema} refuses {value}");
        }
        for value in invalid.as_array().unwrap() {
            assert!(!verdict(&schema, value), "{schema} lets {value} pass");
        }
    }
}
