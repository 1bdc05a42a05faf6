//! A tree to work in, with the tools of the agent, for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent::event::Shown;
use agent::sandbox::{Confinement, Network, Protection, Sandbox, secrets};
use agent::tools::{Arguments, Outcome, Plan, Stop, Tool, standard};
use agent::workplace::{Places, Workplace};
use serde_json::Value;

/// A folder with a tree, the agent's data, a home, and something that is none of its business.
pub struct Site {
    /// Goes when this goes.
    _folder: tempfile::TempDir,
    pub place: Arc<Workplace>,
    pub tools: Vec<Box<dyn Tool>>,
    /// What this system offers.
    protection: Protection,
}

/// What leads to confined commands.
pub fn confine() -> Vec<std::ffi::OsString> {
    vec![env!("CARGO_BIN_EXE_confine").into()]
}

impl Site {
    pub fn new() -> Site {
        Site::of(100_000, false)
    }

    /// For what the system has to keep commands from; `None`, and a line that says why, where it
    /// cannot: the agent says the same in its status bar, and works on.
    pub fn kept(network: bool) -> Option<Site> {
        let site = Site::of(100_000, network);
        let Protection { files, network, .. } = site.protection;
        if !files || network == Network::Open {
            println!("skipped: what keeps commands in here is {}", site.protection);
            return None;
        }
        Some(site)
    }

    /// With a context of this size, and commands that may or may not reach the network.
    pub fn of(context_tokens: usize, network: bool) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["tree", "home/.ssh", "outside"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("outside/secret.txt"), "the secret\n").unwrap();
        fs::write(at("home/.ssh/key"), "the key\n").unwrap();
        let places =
            Places { tree: at("tree"), data: at("data"), home: Some(at("home")), context_tokens };
        let place = Arc::new(Workplace::open(places).unwrap());
        let confinement = Confinement {
            writable: vec![place.tree().to_owned(), place.temporary()],
            hidden: [secrets(&at("home")), vec![at("data")]].concat(),
            shown: vec![place.outputs()],
            network,
        };
        let sandbox = Sandbox::new(confine(), confinement);
        let protection = sandbox.protection();
        let tools = standard(&place, sandbox, None);
        Site { _folder: folder, place, tools, protection }
    }

    /// A path beside the tree.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.place.tree().parent().unwrap().join(name)
    }

    pub fn tree(&self) -> &Path {
        self.place.tree()
    }

    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.tree().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn get(&self, name: &str) -> String {
        fs::read_to_string(self.tree().join(name)).unwrap()
    }

    pub fn tool(&self, name: &str) -> &dyn Tool {
        let mut tools = self.tools.iter();
        tools.find(|tool| tool.spec().name == name).expect("a tool of this name").as_ref()
    }

    pub fn plan(&self, tool: &str, arguments: Value) -> Result<Plan, String> {
        self.tool(tool).plan(&map(arguments))
    }

    /// Plans and runs a call; arguments that are wrong are an outcome too.
    pub fn call(&self, tool: &str, arguments: Value) -> Outcome {
        match self.plan(tool, arguments.clone()) {
            Ok(plan) => self.run(tool, arguments, &plan),
            Err(why) => Outcome { shown: Shown::Text(why.clone()), text: why, failed: true },
        }
    }

    pub fn run(&self, tool: &str, arguments: Value, plan: &Plan) -> Outcome {
        self.tool(tool).run(&map(arguments), plan, &mut |_| {}, &Stop::default())
    }

    /// What a shell command prints and how it ended.
    pub fn shell(&self, command: &str) -> Outcome {
        self.call("bash", serde_json::json!({"command": command}))
    }
}

pub fn map(arguments: Value) -> Arguments {
    arguments.as_object().expect("arguments are an object").clone()
}
