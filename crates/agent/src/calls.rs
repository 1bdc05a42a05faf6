//! The calls of an answer: decided, asked about, executed, and what came of them.
//!
//! Every call gets a result, whatever happens: the model is told what was refused and why. A tool
//! runs in a thread of its own, so that a stop is heard at once; one that does not stop in time is
//! left to itself, and what it says then is not heard any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use text::ReplyCall;

use crate::desk::Heard;
use crate::event::{Consent, Cost, Event, Past, Shown, TurnEnd, Verdict};
use crate::gate::Decision;
use crate::loops::{Repeat, Repeats};
use crate::talk::Record;
use crate::tools::{Arguments, Need, Outcome, Plan, Stop, Tool};
use crate::turn::Loop;

/// What came of the calls of an answer.
pub(crate) struct Called {
    /// A text for each call, for the model.
    pub results: Vec<String>,
    /// Something else that the model is told.
    pub note: Option<String>,
    /// The turn ends here.
    pub end: Option<TurnEnd>,
}

/// How long a tool that was stopped is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Calls of one answer that are executed; what comes after them is refused.
const CALLS_MAX: usize = 64;

const STOPPED: &str = "The person stopped this before it was done.";

impl Loop {
    /// Executes calls in their order. `refused` was refused while it was sampled.
    pub fn calls(
        &mut self,
        calls: Vec<ReplyCall>,
        refused: Option<(usize, String)>,
        repeats: &mut Repeats,
        cost: &mut Cost,
    ) -> Called {
        let mut called = Called { results: Vec::new(), note: None, end: None };
        for (at, call) in calls.iter().enumerate() {
            let why = refused.as_ref().filter(|(of, _)| *of == at).map(|(_, why)| why.as_str());
            let (outcome, changes, took) = self.call(at, call, why, cost);
            self.desk.tell(Event::ToolEnded {
                call: at,
                shown: outcome.shown.clone(),
                failed: outcome.failed,
                took,
            });
            let changed = changes && !outcome.failed;
            match repeats.note(&call.name, &call.arguments, &outcome.text, changed) {
                Repeat::Fine => {}
                Repeat::TellModel => called.note = Some(format!("{REPEATED} ({})", call.name)),
                Repeat::TellPerson => {
                    called.end = Some(TurnEnd::Failed(format!(
                        "the model calls {} again and again with the same result; say how to go on",
                        call.name
                    )));
                }
            }
            self.note(Record::Past(Past::Call {
                name: call.name.clone(),
                arguments: call.arguments.clone(),
                shown: outcome.shown,
                failed: outcome.failed,
            }));
            // Kept as it comes: what was done is not done again after a crash.
            self.note(Record::Owes(outcome.text.clone()));
            called.results.push(outcome.text);
        }
        if self.stop {
            called.end = Some(TurnEnd::Stopped);
        }
        called
    }

    /// One call, whether it was meant to change something, and how long it was executed.
    fn call(
        &mut self,
        at: usize,
        call: &ReplyCall,
        refused: Option<&str>,
        cost: &mut Cost,
    ) -> (Outcome, bool, Duration) {
        let planned = match refused {
            Some(why) => Err(why.to_owned()),
            None if self.stop => Err(STOPPED.to_owned()),
            None if at >= CALLS_MAX => {
                Err(format!("not executed: at most {CALLS_MAX} calls in one answer"))
            }
            None => self.planned(call),
        };
        let (tool, arguments, plan) = match planned {
            Ok(planned) => planned,
            Err(why) => return (failure(why), false, Duration::ZERO),
        };
        if let Err(why) = self.permitted(at, &call.name, &plan) {
            return (failure(why), false, Duration::ZERO);
        }
        cost.calls += 1;
        let changes = plan.needs.iter().any(|need| !matches!(need, Need::Read(_)));
        self.desk.tell(Event::ToolBegan { call: at, title: plan.title.clone() });
        // A person who thinks about a call is no part of it.
        let began = Instant::now();
        let outcome = self.execute(at, tool, arguments, plan);
        (outcome, changes, began.elapsed())
    }

    /// The tool, its arguments, and what it would do; or what is wrong with the call.
    fn planned(&self, call: &ReplyCall) -> Result<(Arc<dyn Tool>, Arguments, Plan), String> {
        let found = self.tools.iter().find(|(spec, _)| spec.name == call.name);
        let Some((_, tool)) = found else {
            let names = self.format.tool_names();
            return Err(format!("there is no tool {:?}; the tools are: {names}", call.name));
        };
        let arguments: Arguments = text::json::parse(&call.arguments)
            .ok()
            .and_then(|value| match value {
                serde_json::Value::Object(members) => Some(members),
                _ => None,
            })
            .ok_or_else(|| "the arguments are not one JSON object".to_owned())?;
        let plan = tool.plan(&arguments)?;
        Ok((tool.clone(), arguments, plan))
    }

    /// Lets the gate decide, and the person where it wants that; else why not, for the model.
    fn permitted(&mut self, at: usize, name: &str, plan: &Plan) -> Result<(), String> {
        let (reason, always) = match self.settings.gate.decide(name, plan) {
            Decision::Allow => return Ok(()),
            Decision::Deny(why) => return Err(why),
            Decision::Ask { reason, always } => (reason, always),
        };
        self.verdict = None;
        self.desk.tell(Event::Consent(Consent {
            call: at,
            tool: name.to_owned(),
            title: plan.title.clone(),
            detail: plan.detail.clone(),
            reason,
            always,
        }));
        loop {
            if self.stop {
                return Err(STOPPED.to_owned());
            }
            match self.verdict.take() {
                Some((of, Verdict::Once)) if of == at => return Ok(()),
                Some((of, Verdict::Always)) if of == at => {
                    if let Err(problem) = self.settings.gate.always(name, plan) {
                        self.notice(format!("allowed this once: {problem}"));
                    }
                    return Ok(());
                }
                Some((of, Verdict::No(instead))) if of == at => {
                    let said = instead.filter(|text| !text.trim().is_empty());
                    return Err(match said {
                        Some(text) => format!("The person refused this call and said: {text}"),
                        None => "The person refused this call. Do not try it again; ask what to \
                                 do instead, or go on without it."
                            .to_owned(),
                    });
                }
                _ => {
                    self.hear(None);
                }
            }
        }
    }

    /// Runs a tool in a thread of its own.
    fn execute(
        &mut self,
        at: usize,
        tool: Arc<dyn Tool>,
        arguments: Arguments,
        plan: Plan,
    ) -> Outcome {
        self.count += 1;
        let (number, stop) = (self.count, Stop::default());
        let (mut print, sender) = (self.desk.printer(number), self.desk.sender());
        let stopped = stop.clone();
        let work = move || {
            let run = || tool.run(&arguments, &plan, &mut print, &stopped);
            let outcome = catch_unwind(AssertUnwindSafe(run)).ok();
            let _ = sender.send(Heard::Ran(number, outcome));
        };
        if let Err(error) = std::thread::Builder::new().name("agent-tool".to_owned()).spawn(work) {
            return failure(format!("the system gives no thread to run this: {error}"));
        }
        let mut until = None;
        loop {
            if self.stop && until.is_none() {
                stop.stop();
                until = Some(Instant::now() + GRACE);
            }
            match self.hear(until) {
                Some(Heard::Print(of, text)) if of == number => {
                    self.desk.tell(Event::ToolOutput { call: at, text });
                }
                Some(Heard::Ran(of, outcome)) if of == number => {
                    let broke = "the tool broke, which is a bug of dwarfstar; do it another way";
                    return outcome.unwrap_or_else(|| failure(broke.to_owned()));
                }
                _ if until.is_some_and(|until| Instant::now() >= until) => {
                    return failure(STOPPED.to_owned());
                }
                _ => {}
            }
        }
    }
}

/// A call that did not work, or was not executed.
fn failure(text: String) -> Outcome {
    Outcome { shown: Shown::Text(text.clone()), text, failed: true }
}

const REPEATED: &str = "You have made the same call three times with the same result. Do not \
    repeat it: try something else, or say what keeps you from going on";
