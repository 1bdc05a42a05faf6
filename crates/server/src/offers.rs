//! Tools on offer: what the model is told of them, and what clients call them.
//!
//! The model knows functions with JSON arguments only. Other kinds become functions under a name
//! that says both, and [`Offers`] remembers what a call of that name is to the client. Tools that
//! are loaded later (`defer_loading`) are not in the tools block, which stands in the head of the
//! prompt and must not change; their schemas come with the tool result that loads them.

use std::collections::HashMap;

use serde_json::{Value, json};
use text::ToolSpec;

use crate::body::Object;
use crate::refusal::Refusal;

/// Tools of one request.
pub const TOOLS_MAX: usize = 4096;

/// Bytes of the name of a tool.
const NAME_BYTES_MAX: usize = 256;

/// Tools on offer.
#[derive(Clone, Debug, Default)]
pub struct Offers {
    tools: Vec<Tool>,
    places: HashMap<String, usize>,
}

/// One tool.
#[derive(Clone, Debug)]
struct Tool {
    spec: ToolSpec,
    kind: Kind,
    deferred: bool,
    strict: bool,
    /// Where it stands in the request.
    at: String,
}

/// What a tool is to the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A function with JSON arguments.
    #[default]
    Function,
    /// A tool that takes text, not JSON.
    Custom,
    /// A function in a namespace.
    Inner {
        /// The namespace.
        namespace: String,
        /// The name in it.
        name: String,
    },
    /// The client's own search for tools.
    Search,
}

/// How a tool is offered.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// What it is to the client.
    pub kind: Kind,
    /// Whether it is loaded later.
    pub deferred: bool,
    /// Whether arguments must follow the schema.
    pub strict: bool,
}

impl Offers {
    /// Offers a tool that stands at `at` in the request.
    ///
    /// # Errors
    /// A name that the model cannot write, or one that is taken.
    pub fn add(&mut self, spec: ToolSpec, manner: Manner, at: &Object<'_>) -> Result<(), Refusal> {
        let Manner { kind, deferred, strict } = manner;
        let name = spec.name.clone();
        let odd = |c: char| c == '"' || c == '<' || c == '>' || c.is_control();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(odd) {
            let expected = "no quotes, angle brackets or control characters";
            let expected = format!("expected 1 to {NAME_BYTES_MAX} bytes, {expected}");
            return Err(at.refuse("name", expected));
        }
        if self.places.insert(name.clone(), self.tools.len()).is_some() {
            return Err(at.refuse("name", format!("two tools are named {name:?}")));
        }
        let at = at.at().to_owned();
        self.tools.push(Tool { spec, kind, deferred, strict, at });
        Ok(())
    }

    /// Whether there are none, loaded or not.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Those of the tools block, in the order of the request.
    pub fn block(&self) -> Vec<ToolSpec> {
        let at_once = self.tools.iter().filter(|tool| !tool.deferred);
        at_once.map(|tool| tool.spec.clone()).collect()
    }

    /// All of them, loaded or not.
    pub fn specs(&self) -> impl Iterator<Item = &ToolSpec> {
        self.tools.iter().map(|tool| &tool.spec)
    }

    /// A tool, by the name that the model knows.
    pub fn spec(&self, name: &str) -> Option<&ToolSpec> {
        self.places.get(name).map(|at| &self.tools[*at].spec)
    }

    /// What a call of that name is to the client. A name that was not offered is a function.
    pub fn kind(&self, name: &str) -> &Kind {
        self.places.get(name).map_or(&Kind::Function, |at| &self.tools[*at].kind)
    }

    /// Whether arguments of that tool must follow its schema.
    pub fn is_strict(&self, name: &str) -> bool {
        self.places.get(name).is_some_and(|at| self.tools[*at].strict)
    }

    /// Whether there are tools whose arguments must.
    pub fn has_strict(&self) -> bool {
        self.strict().next().is_some()
    }

    /// Those tools, and where they stand in the request.
    pub fn strict(&self) -> impl Iterator<Item = (&ToolSpec, &str)> {
        let strict = self.tools.iter().filter(|tool| tool.strict);
        strict.map(|tool| (&tool.spec, tool.at.as_str()))
    }

    /// The name by which the model knows a tool that the client names so.
    pub fn known_as(&self, namespace: Option<&str>, name: &str) -> String {
        namespace.map_or_else(|| name.to_owned(), |namespace| joined(namespace, name))
    }
}

/// Reads a function's name, description and schema, wherever a dialect has them.
///
/// # Errors
/// No name, or members of wrong types.
pub fn function(tool: &Object<'_>, schema: &str) -> Result<ToolSpec, Refusal> {
    let name = tool.need_text("name")?;
    let description = tool.text("description")?.map(str::to_owned);
    let parameters = tool.object(schema)?.and_then(|_| tool.get(schema).cloned());
    Ok(ToolSpec::new(name, description, parameters))
}

/// A tool that takes text, as a function with one string. The grammar of its text, where there is
/// one, is told to the model in the description.
///
/// # Errors
/// No name, or members of wrong types.
pub fn custom(tool: &Object<'_>) -> Result<ToolSpec, Refusal> {
    let mut description = tool.text("description")?.unwrap_or("").to_owned();
    if let Some(format) = tool.object("format")?
        && let Some(definition) = format.text("definition")?
    {
        let syntax = format.text("syntax")?.unwrap_or("given");
        let gap = if description.is_empty() { "" } else { "\n\n" };
        description += &format!("{gap}The input must follow this {syntax} grammar:\n{definition}");
    }
    let parameters = json!({
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The whole input, as text"}},
        "required": ["input"],
    });
    let description = Some(description).filter(|text| !text.is_empty());
    Ok(ToolSpec::new(tool.need_text("name")?, description, Some(parameters)))
}

/// The name of a function in a namespace.
pub fn joined(namespace: &str, name: &str) -> String {
    let between = if namespace.ends_with('_') { "" } else { "__" };
    format!("{namespace}{between}{name}")
}

/// The text of a tool result that loads tools: a line of JSON for each.
pub fn loaded<'a>(specs: impl Iterator<Item = &'a ToolSpec>) -> String {
    specs.map(ToolSpec::schema_line).collect::<Vec<_>>().join("\n")
}

/// Whether `parameters` of a strict tool are an object whose members are known.
pub fn properties(parameters: &Value) -> Option<&serde_json::Map<String, Value>> {
    parameters.get("properties")?.as_object()
}
