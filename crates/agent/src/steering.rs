//! `/steer`: how answers are steered from the next one on.
//!
//! What the model has read is kept apart by how it was steered, so another steering reads the
//! conversation anew, and going back to one finds what was read then.

use engine::Steer;

use crate::commands::Answer;
use crate::turn::Loop;

/// Shows how answers are steered, or changes it.
pub fn steer(agent: &mut Loop, arguments: &str) -> Answer {
    let Some(usual) = agent.model.info().steering else {
        return Err("there are no directions to steer with: start with --steer FILE".to_owned());
    };
    let steer = agent.steer.unwrap_or(usual);
    let shown = |steer: Steer| format!("ffn {}, attn {}", steer.ffn(), steer.attention());
    if arguments.is_empty() {
        return Ok(Some(format!("Answers are steered by {}.", shown(steer))));
    }
    let wrong = || format!("/steer {arguments}: expected one number, or two: ffn and attn");
    let number = |word: &str| word.parse::<f32>().map_err(|_| wrong());
    let mut words = arguments.split_whitespace();
    let ffn = words.next().map_or(Err(wrong()), number)?;
    let attention = words.next().map_or(Ok(steer.attention()), number)?;
    if words.next().is_some() {
        return Err(wrong());
    }
    let steer = Steer::new(ffn, attention).map_err(|error| format!("/steer: {error}"))?;
    agent.steer = Some(steer);
    Ok(Some(format!(
        "Answers are steered by {} from the next one on, which reads the conversation anew.",
        shown(steer)
    )))
}
