//! The body of a Converse request, borrowed from the bytes it arrived in.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A string that borrows when the wire holds no escapes, also inside `Option` and `Vec`.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// `Converse`, `ConverseStream` and the `converse` member of `CountTokens`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request<'a> {
    #[serde(borrow)]
    pub(super) messages: Vec<Message<'a>>,
    #[serde(borrow)]
    pub(super) system: Vec<Block<'a>>,
    #[serde(borrow)]
    pub(super) tool_config: Option<ToolConfig<'a>>,
    #[serde(borrow)]
    pub(super) inference_config: Inference<'a>,
    #[serde(borrow)]
    pub(super) output_config: Option<OutputConfig<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub(super) role: Role,
    #[serde(borrow)]
    pub(super) content: Vec<Block<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    User,
    Assistant,
}

/// One content block: of a message, of the system prompt, or inside a tool result.
#[derive(Debug)]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Json(&'a RawValue),
    ToolUse(ToolUse<'a>),
    ToolResult(ToolResult<'a>),
    CachePoint(CachePoint),
    /// Images, documents and whatever else the local models only count.
    Other(Cow<'a, str>, &'a RawValue),
}

/// Up to here the request is to be kept.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct CachePoint {
    #[serde(default)]
    pub(super) ttl: Ttl,
}

/// How long after it was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Ttl {
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    OneHour,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) input: &'a RawValue,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolResult<'a> {
    #[serde(borrow)]
    pub(super) tool_use_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) content: Vec<Block<'a>>,
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    #[serde(borrow, default)]
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) tool_choice: Option<ToolChoice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tool<'a> {
    #[serde(borrow)]
    pub(super) tool_spec: Option<ToolSpec<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolSpec<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) description: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) input_schema: InputSchema<'a>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InputSchema<'a> {
    #[serde(borrow)]
    pub(super) json: &'a RawValue,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ToolChoice {
    Auto {},
    Any {},
    Tool { name: String },
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Inference<'a> {
    pub(super) max_tokens: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    #[serde(borrow)]
    pub(super) stop_sequences: Vec<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OutputConfig<'a> {
    #[serde(borrow)]
    text_format: Option<TextFormat<'a>>,
}

#[derive(Debug, Deserialize)]
struct TextFormat<'a> {
    #[serde(borrow)]
    structure: Structure<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structure<'a> {
    #[serde(borrow)]
    json_schema: Option<SchemaText<'a>>,
}

#[derive(Debug, Deserialize)]
struct SchemaText<'a> {
    #[serde(borrow)]
    schema: Cow<'a, str>,
}

impl Request<'_> {
    /// Place of the user message that is being answered: the last one that says something itself
    /// rather than bringing tool results or complaining about the answer before it.
    pub(super) fn asked_at(&self) -> Option<usize> {
        let says = |m: &Message<'_>| m.role == Role::User && m.text().next().is_some();
        let plain = |m: &Message<'_>| {
            says(m) && m.tool_results().next().is_none() && !m.text().any(is_complaint)
        };
        let last = |wanted: &dyn Fn(&Message<'_>) -> bool| self.messages.iter().rposition(wanted);
        last(&plain).or_else(|| last(&says))
    }

    /// All text of the message at `place`.
    pub(super) fn text_at(&self, place: usize) -> Cow<'_, str> {
        let Some(message) = self.messages.get(place) else {
            return Cow::Borrowed("");
        };
        join(message.text())
    }

    /// All text of the system prompt.
    pub(super) fn system_text(&self) -> Cow<'_, str> {
        join(self.system.iter().filter_map(Block::text))
    }

    /// Specifications of the tools on offer.
    pub(super) fn tools(&self) -> impl Iterator<Item = &ToolSpec<'_>> {
        self.tool_config
            .iter()
            .flat_map(|c| c.tools.iter())
            .filter_map(|t| t.tool_spec.as_ref())
    }

    /// The JSON Schema of `outputConfig`, as text.
    pub(super) fn output_schema(&self) -> Option<&str> {
        let format = self.output_config.as_ref()?.text_format.as_ref()?;
        Some(&*format.structure.json_schema.as_ref()?.schema)
    }
}

impl Message<'_> {
    /// The text blocks that are not blank.
    pub(super) fn text(&self) -> impl Iterator<Item = &str> {
        self.content
            .iter()
            .filter_map(Block::text)
            .filter(|text| !text.trim().is_empty())
    }

    /// The tool calls of an assistant message.
    pub(super) fn tool_uses(&self) -> impl Iterator<Item = &ToolUse<'_>> {
        self.content.iter().filter_map(|b| match b {
            Block::ToolUse(call) => Some(call),
            Block::Text(_)
            | Block::Json(_)
            | Block::ToolResult(_)
            | Block::CachePoint(_)
            | Block::Other(..) => None,
        })
    }

    /// The tool results of a user message.
    pub(super) fn tool_results(&self) -> impl Iterator<Item = &ToolResult<'_>> {
        self.content.iter().filter_map(|b| match b {
            Block::ToolResult(result) => Some(result),
            Block::Text(_)
            | Block::Json(_)
            | Block::ToolUse(_)
            | Block::CachePoint(_)
            | Block::Other(..) => None,
        })
    }
}

impl ToolResult<'_> {
    /// Whether the tool reported a failure.
    pub(super) fn failed(&self) -> bool {
        self.status.as_ref().is_some_and(|s| s.0 == "error")
    }

    /// The result as text: text as it is, JSON in its wire form.
    pub(super) fn text(&self) -> Cow<'_, str> {
        join(self.content.iter().filter_map(|b| match b {
            Block::Text(text) => Some(&**text),
            Block::Json(raw) => Some(raw.get()),
            Block::ToolUse(_) | Block::ToolResult(_) | Block::CachePoint(_) | Block::Other(..) => {
                None
            }
        }))
    }
}

impl Block<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Block::Text(text) => Some(text),
            Block::Json(_)
            | Block::ToolUse(_)
            | Block::ToolResult(_)
            | Block::CachePoint(_)
            | Block::Other(..) => None,
        }
    }
}

/// Whether a text asks to mend the last answer, as Skein words it.
pub(super) fn is_complaint(text: &str) -> bool {
    ["Your last ", "Your answer "]
        .iter()
        .any(|start| text.starts_with(start))
}

fn join<'a>(mut parts: impl Iterator<Item = &'a str>) -> Cow<'a, str> {
    let Some(first) = parts.next() else {
        return Cow::Borrowed("");
    };
    let Some(second) = parts.next() else {
        return Cow::Borrowed(first);
    };
    let mut whole = format!("{first}\n{second}");
    for part in parts {
        whole.push('\n');
        whole.push_str(part);
    }
    Cow::Owned(whole)
}

impl<'de: 'a, 'a> Deserialize<'de> for Block<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BlockVisitor)
    }
}

struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = Block<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a content block with one member")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Block<'de>, A::Error> {
        let Some(Text(member)) = map.next_key::<Text<'de>>()? else {
            return Err(A::Error::custom("a content block is empty"));
        };
        let block = match &*member {
            "text" => Block::Text(map.next_value::<Text<'de>>()?.0),
            "json" => Block::Json(map.next_value()?),
            "toolUse" => Block::ToolUse(map.next_value()?),
            "toolResult" => Block::ToolResult(map.next_value()?),
            "cachePoint" => Block::CachePoint(map.next_value()?),
            _ => Block::Other(member, map.next_value()?),
        };
        if map.next_key::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("a content block has more than one member"));
        }
        Ok(block)
    }
}
