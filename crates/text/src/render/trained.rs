//! Texts that the model saw in training, letter for letter: special tokens, the tools block and
//! the effort lines.
//!
//! Nothing here may be improved. Bars are U+FF5C and the low blocks in BOS and EOS are U+2581.

use crate::message::{Checkpoint, Effort, Task};

/// The special tokens of the chat format by their text.
pub mod special {
    /// Begin of sentence: once, first.
    pub const BOS: &str = "<｜begin▁of▁sentence｜>";
    /// End of sentence: after every finished turn of the model.
    pub const EOS: &str = "<｜end▁of▁sentence｜>";
    /// Opens a user turn.
    pub const USER: &str = "<｜User｜>";
    /// Opens a turn of the model.
    pub const ASSISTANT: &str = "<｜Assistant｜>";
    /// Opens a line of circumstances.
    pub const LATEST_REMINDER: &str = "<｜latest_reminder｜>";
    /// Opens reasoning.
    pub const THINK: &str = "<think>";
    /// Closes reasoning.
    pub const THINK_END: &str = "</think>";
    /// Marks the tags of a tool block.
    pub const DSML: &str = "｜DSML｜";
}

/// The token that asks for a quick task.
pub(super) fn task_token(task: Task) -> &'static str {
    match task {
        Task::Action => "<｜action｜>",
        Task::Query => "<｜query｜>",
        Task::Authority => "<｜authority｜>",
        Task::Domain => "<｜domain｜>",
        Task::Title => "<｜title｜>",
        Task::ReadUrl => "<｜read_url｜>",
    }
}

/// The line between BOS and the first message, empty for the checkpoint's usual effort.
pub(super) fn effort_text(checkpoint: Checkpoint, effort: Effort) -> &'static str {
    match (checkpoint, effort) {
        (_, Effort::Low) | (Checkpoint::Preview, Effort::High) => "",
        (Checkpoint::Preview, Effort::Max) | (Checkpoint::V0731, Effort::High) => EFFORT_ABSOLUTE,
        (Checkpoint::V0731, Effort::Max) => EFFORT_BEYOND,
    }
}

const EFFORT_ABSOLUTE: &str = "\
Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve \
the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and \
adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, \
considered alternative, and rejected hypothesis to ensure absolutely no assumption is left \
unchecked.

";

const EFFORT_BEYOND: &str = "\
Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: \
exhaustively decompose the problem into its most fundamental components, trace every causal chain \
to its root, and resolve the underlying cause rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and \
are certain that no assumption remains unchecked and no error remains undiscovered.

";

/// The tools block up to the schemas. Its markers are special tokens.
pub(super) const TOOLS_HEAD: &str = "\
## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by \
writing a \"<｜DSML｜tool_calls>\" block like the following:

<｜DSML｜tool_calls>
<｜DSML｜invoke name=\"$TOOL_NAME\">
<｜DSML｜parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name=\"$TOOL_NAME2\">
...
</｜DSML｜invoke>
</｜DSML｜tool_calls>

String parameters should be specified as is and set `string=\"true\"`. For all other types \
(numbers, booleans, arrays, objects), pass the value in JSON format and set `string=\"false\"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside \
<think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

";

/// The tools block after the schemas.
pub(super) const TOOLS_TAIL: &str = "
You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
";

/// What stands before the schema of the answer.
pub(super) const RESPONSE_FORMAT_HEAD: &str = "\
## Response Format:

You MUST strictly adhere to the following schema to reply:
";
