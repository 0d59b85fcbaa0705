use aws_sdk_bedrockruntime::types::{
    JsonSchemaDefinition, OutputConfig, OutputFormat, OutputFormatStructure, OutputFormatType,
    SystemContentBlock,
};

use super::*;

fn contact() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "email": {"type": "string", "format": "email"},
            "dueDate": {"type": "string", "format": "date"},
            "amount": {"type": "number", "minimum": 0},
            "quantity": {"type": "integer"},
            "currency": {"enum": ["USD", "EUR"]},
            "urgent": {"type": "boolean"},
            "phone": {"type": ["string", "null"]},
            "note": {"type": "string"}
        },
        "required": ["name", "email", "amount", "phone"],
        "additionalProperties": false
    })
}

const LETTER: &str = "Please invoice Ada Lovelace <ada@example.com>: quantity 3, amount 129.50 EUR, due March 5, 2027. It is urgent.";

fn with_schema(schema: &Value) -> SystemContentBlock {
    SystemContentBlock::Text(format!(
        "Answer with JSON only.\n```json-schema\n{schema}\n```\nNothing else."
    ))
}

#[tokio::test]
async fn values_are_taken_from_the_text() {
    let (client, _) = start(None).await;
    let send = client
        .converse()
        .model_id("local.json")
        .system(with_schema(&contact()));
    let output = send.messages(user(LETTER)).send().await.unwrap();
    let answer: Value = serde_json::from_str(&text(&output)).unwrap();
    let expected = json!({
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "dueDate": "2027-03-05",
        "amount": 129.5,
        "quantity": 3,
        "currency": "EUR",
        "urgent": true,
        "phone": null
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn the_schema_of_the_output_configuration_counts() {
    let (client, _) = start(None).await;
    let schema = json!({"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]});
    let definition = JsonSchemaDefinition::builder()
        .schema(schema.to_string())
        .build()
        .unwrap();
    let format = OutputFormat::builder()
        .r#type(OutputFormatType::JsonSchema)
        .structure(OutputFormatStructure::JsonSchema(definition))
        .build()
        .unwrap();
    let config = OutputConfig::builder().text_format(format).build();
    let send = client
        .converse()
        .model_id("local.json")
        .output_config(config);
    let output = send
        .messages(user("The total is 42."))
        .send()
        .await
        .unwrap();
    assert_eq!(text(&output), "{\"total\":42}");
}

#[tokio::test]
async fn broken_once_is_mended_when_asked_and_broken_always_is_not() {
    let (client, _) = start(None).await;
    let send = async |first: &str| {
        let mut messages = vec![user(first)];
        let mut answers = Vec::new();
        for _ in 0..2 {
            let send = client
                .converse()
                .model_id("local.json")
                .system(with_schema(&contact()));
            let output = send
                .set_messages(Some(messages.clone()))
                .send()
                .await
                .unwrap();
            answers.push(text(&output));
            messages.push(reply(&output).clone());
            messages.push(user(
                "That is not valid JSON for the schema. Answer again with JSON only.",
            ));
        }
        answers
            .into_iter()
            .map(|answer| serde_json::from_str::<Value>(&answer).is_ok())
            .collect::<Vec<_>>()
    };
    assert_eq!(send(&format!("{LETTER} broken once")).await, [false, true]);
    assert_eq!(
        send(&format!("{LETTER} broken always")).await,
        [false, false]
    );
    assert_eq!(send(LETTER).await, [true, true]);
}

#[tokio::test]
async fn a_bare_schema_in_the_system_prompt_is_found_and_none_is_fine() {
    let (client, _) = start(None).await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let system = SystemContentBlock::Text(format!(
        "Use {{braces}} with care. Schema: {schema} Thank you."
    ));
    let send = client.converse().model_id("local.json").system(system);
    let output = send
        .messages(user("city: Zürich, and so on"))
        .send()
        .await
        .unwrap();
    assert_eq!(text(&output), "{\"city\":\"Zürich\"}");
    let output = ask(&client, "local.json", "hello").await.unwrap();
    assert_eq!(text(&output), "{\"text\":\"hello\"}");
}

#[test]
fn answers_conform_to_their_schema_whatever_the_text_says() {
    let node = json!({
        "$defs": {"node": {
            "type": "object",
            "properties": {"label": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["label"]
        }},
        "$ref": "#/$defs/node"
    });
    let schemas = [
        contact(),
        node,
        json!({"type": "object", "properties": {
            "tags": {"type": "array", "items": {"type": "string", "minLength": 2, "maxLength": 8}, "minItems": 2, "maxItems": 3, "uniqueItems": true},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "ratio": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "step": {"type": "integer", "multipleOf": 5},
            "kind": {"const": "review"},
            "when": {"type": "string", "format": "date-time"},
            "people": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}
        }, "required": ["tags", "score", "ratio", "step", "kind", "when", "people"]}),
        json!({"type": "object", "properties": {"sentiment": {"enum": ["positive", "negative"]}, "age": {"oneOf": [{"type": "integer"}, {"type": "null"}]}}, "required": ["sentiment", "age"]}),
        json!({"allOf": [{"properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "number"}}, "required": ["b"]}]}),
        json!({"type": "array", "items": {"type": "number"}, "maxItems": 2}),
    ];
    let texts = [
        LETTER,
        "",
        "tags: red, green, blue and a very long one. Scores 9 and 0.25; Grace Hopper met Alan Turing on 12.05.2026.",
        "negative -7.5 \"quoted\" 日本語 1e999 99999999999999999999 2026-02-30 +49 30 1234567",
    ];
    for schema in &schemas {
        let validator = jsonschema::validator_for(schema).unwrap();
        for text in texts {
            let answer: Value =
                serde_json::from_str(&crate::bedrock::json::fitting(schema, text)).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&answer)
                .map(|e| e.to_string())
                .collect();
            assert!(
                errors.is_empty(),
                "{errors:?} for {answer} by {schema} from {text:?}"
            );
        }
    }
}
