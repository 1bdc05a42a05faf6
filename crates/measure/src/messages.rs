//! Messages as files of other people hold them: objects with the texts `role` and `content`.
//!
//! The roles are system (or developer), user and assistant; what else an object has is left alone.
//! Problems are sentences, which [`Line::refuse`](crate::lines::Line::refuse) gives a place.

use serde_json::Value;
use text::Message;

/// The most messages of a conversation.
const MESSAGES_MAX: usize = 10_000;

/// The messages of a list.
pub(crate) fn messages(list: &[Value]) -> Result<Vec<Message>, String> {
    if list.len() > MESSAGES_MAX {
        return Err(format!("{} messages, {MESSAGES_MAX} are taken", list.len()));
    }
    let numbered = |(place, value)| {
        message(value).map_err(|problem| format!("message {}: {problem}", place + 1))
    };
    list.iter().enumerate().map(numbered).collect()
}

fn message(value: &Value) -> Result<Message, String> {
    let text = |name: &str| match value.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("\"{name}\": expected a string")),
        None if value.is_object() => Err(format!("\"{name}\" is missing")),
        None => Err("expected an object with the texts role and content".to_owned()),
    };
    let (role, content) = (text("role")?, text("content")?);
    match role {
        "system" | "developer" => Ok(Message::system(content)),
        "user" => Ok(Message::user(content)),
        "assistant" => Ok(Message::assistant(content)),
        _ => {
            let role: String = role.chars().take(80).collect();
            Err(format!("role {role:?}: expected system, user or assistant"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn roles_are_three_and_problems_have_a_place() {
        let list = json!([
            {"role": "developer", "content": "a", "name": 5},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"},
        ]);
        let expected = [Message::system("a"), Message::user("b"), Message::assistant("c")];
        assert_eq!(messages(list.as_array().unwrap()).unwrap(), expected);
        for (value, problem) in [
            (json!(5), "message 2: expected an object with the texts role and content"),
            (json!({"role": "user"}), "message 2: \"content\" is missing"),
            (json!({"role": 1, "content": ""}), "message 2: \"role\": expected a string"),
            (json!({"role": "tool", "content": ""}), "message 2: role \"tool\": expected system"),
        ] {
            let list = [json!({"role": "user", "content": ""}), value];
            let found = messages(&list).unwrap_err();
            assert!(found.starts_with(problem), "{found}");
        }
        let many = vec![json!({"role": "user", "content": ""}); MESSAGES_MAX + 1];
        assert!(messages(&many).unwrap_err().contains("10000 are taken"));
    }
}
