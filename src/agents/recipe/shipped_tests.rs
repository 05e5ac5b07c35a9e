//! The shipped recipes against a stand-in of each form of Archon, at each level.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    book::{Recipes, SHIPPED},
    testing::{Form, Ground, StandIn, run},
};
use crate::{
    agents::{AgentSetting, Agents, AgentsSettings, command},
    archon::EmbeddedArchon,
    model::AgentName,
    ports::AgentDirectory as _,
    upstream::{
        Archon, ArchonChoice, Era, Upstream, UpstreamSettings, UpstreamTransport,
        testing::StillClock,
    },
};

/// Agents that know of nothing but a stand-in and the embedded Archon.
struct Bench {
    standin: StandIn,
    ground: Ground,
    agents: Agents,
}

impl Bench {
    async fn new(form: Form) -> Self {
        Self::with(StandIn::start(form).await, AgentSetting::default())
    }

    fn with(standin: StandIn, setting: AgentSetting) -> Self {
        let ground = Ground::new();
        let clock = Arc::new(StillClock::default());
        let choice = ArchonChoice::Configured(Arc::clone(&standin.upstream));
        let agents = Agents::new(AgentsSettings {
            workers: None,
            runner: super::testing::runner(),
            commands: command::Commands::default(),
            agents: BTreeMap::from([(AgentName::new("coder"), setting)]),
            upstreams: BTreeMap::new(),
            archon: Archon::new(choice, clock),
            embedded: embedded(&ground),
            recipes: Recipes::default(),
            workspaces: ground.workspaces.clone(),
        });
        Self { standin, ground, agents }
    }

    /// Runs an agent, and shows what it answered at `pointers`; the workspace is `/ws`.
    async fn show(&self, agent: &str, input: &Value, pointers: &[&str]) -> String {
        let shown = match self.run(agent, input).await {
            Ok(output) => {
                let at = |it: &&str| {
                    let value = output.pointer(it);
                    format!("{it} = {}\n", value.unwrap_or(&Value::Null))
                };
                pointers.iter().map(at).collect::<String>()
            }
            Err(error) => error,
        };
        // What runs side by side comes in any order.
        let mut calls = self.standin.called();
        calls.sort_unstable();
        let calls = calls.join(" ");
        format!("{shown}\ncalls: {calls}")
            .replace(&*self.ground.dir.path().to_string_lossy(), "/ws")
    }

    async fn run(&self, agent: &str, input: &Value) -> Result<Value, String> {
        let binding = self.agents.bind(&AgentName::new(agent)).await;
        let binding = binding.map_err(|error| error.to_string())?;
        let output = run(&*binding.backend, input).await;
        output.map_err(|it| format!("{}: {}", it.code.as_str(), it.message))
    }

    fn coder_input(&self, level: &str) -> Value {
        json!({ "contract_description": "Sends a mail to a user.", "node_type": "Effect",
                "output_path": self.ground.path("node_mailer_effect.py"),
                "validation_level": level })
    }

    fn debug_input(&self, depth: &str) -> Value {
        let file = self.ground.write("bad.py", "def bad(x):\n    return x['k']\n");
        json!({ "problem_description": "KeyError in bad.py", "affected_files": [file],
                "error_traces": ["KeyError: 'k'"], "analysis_depth": depth })
    }
}

fn embedded(ground: &Ground) -> Arc<Upstream> {
    let server = EmbeddedArchon::new(ground.workspaces.clone());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let connect = Arc::new(move || server.connect(&tasks, stop.clone()));
    let transport = UpstreamTransport::InMemory { connect };
    let settings = UpstreamSettings::new("embedded-archon", transport, Era::Legacy);
    Upstream::new(settings, Arc::new(StillClock::default()))
}

const CODER: [&str; 6] =
    ["/class_name", "/quality_score", "/compliance_score", "/checks", "/research", "/warnings"];
const DEBUG: [&str; 6] =
    ["/baseline", "/focus", "/root_cause", "/optimisation", "/synthesis", "/warnings"];

#[test]
fn every_shipped_recipe_can_be_read() {
    let recipes = Recipes::default();
    for it in &SHIPPED {
        assert!(recipes.get(it.name).is_some(), "{}", it.name);
    }
}

#[test]
fn a_recipe_lays_its_fields_over_the_one_it_extends() {
    let own = BTreeMap::from([
        ("mine".to_owned(), json!({ "extends": "archon_research", "output": "mine" })),
        ("circle".to_owned(), json!({ "extends": "circle2" })),
        ("circle2".to_owned(), json!({ "extends": "circle" })),
        ("gone".to_owned(), json!({ "extends": "archon_reserch" })),
    ]);
    let faults = Recipes::read(&own).unwrap_err();
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    expect![[r"
        recipes.circle.extends: goes on for more than 8 recipes; is it a circle?
        recipes.circle2.extends: goes on for more than 8 recipes; is it a circle?
        recipes.gone.extends: there is no recipe archon_reserch; did you mean `archon_research`?"]]
    .assert_eq(&faults.join("\n"));
    let mine = BTreeMap::from([("mine".to_owned(), own["mine"].clone())]);
    let recipe = Recipes::read(&mine).unwrap().get("mine").unwrap();
    assert_eq!(recipe.steps.len(), 3);
    assert_eq!(recipe.output.as_fixed(), Some(&json!("mine")));
}

async fn check_coder(form: Form, level: &str, expected: &Expect) {
    let bench = Bench::new(form).await;
    let shown = bench.show("coder", &bench.coder_input(level), &CODER).await;
    let written = bench.ground.read("node_mailer_effect.py");
    assert!(written.is_some_and(|it| it.contains("class NodeMailerEffect")), "{shown}");
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn e2e_coder_runs_on_flat_tools_and_through_the_gateway() {
    for form in [Form::OmniNode, Form::Gateway] {
        check_coder(form, "strict", &expect![[r#"
            /class_name = "NodeMailerEffect"
            /quality_score = 0.9
            /compliance_score = 0.8
            /checks = {"quality":true,"compliance":true}
            /research = {"domain":{"key_findings":["contracts first"],"patterns_identified":[]},"similar":{"key_findings":["contracts first"],"patterns_identified":[]}}
            /warnings = []

            calls: assess_code_quality check_architectural_compliance perform_rag_query perform_rag_query"#]]).await;
        let less = expect![[r#"
            /class_name = "NodeMailerEffect"
            /quality_score = 0.9
            /compliance_score = null
            /checks = {"quality":true,"compliance":null}
            /research = {"domain":{"key_findings":["contracts first"],"patterns_identified":[]},"similar":{"key_findings":["contracts first"],"patterns_identified":[]}}
            /warnings = []

            calls: assess_code_quality perform_rag_query perform_rag_query"#]];
        for level in ["moderate", "lenient"] {
            check_coder(form, level, &less).await;
        }
    }
}

#[tokio::test]
async fn e2e_coder_runs_on_archon_v1() {
    check_coder(Form::ArchonV1, "strict", &expect![[r#"
        /class_name = "NodeMailerEffect"
        /quality_score = 1.0
        /compliance_score = null
        /checks = {"quality":true}
        /research = {"knowledge":[{"content":"about Sends a mail to a user.","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}],"examples":[{"content":"def f(): ...","summary":"an example"}]}
        /warnings = []

        calls: rag_search_code_examples rag_search_knowledge_base"#]]).await;
    check_coder(Form::ArchonV1, "moderate", &expect![[r#"
        /class_name = "NodeMailerEffect"
        /quality_score = 1.0
        /compliance_score = null
        /checks = {"quality":true}
        /research = {"knowledge":[{"content":"about Sends a mail to a user.","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}],"examples":[{"content":"def f(): ...","summary":"an example"}]}
        /warnings = []

        calls: rag_search_code_examples rag_search_knowledge_base"#]]).await;
    check_coder(Form::ArchonV1, "lenient", &expect![[r#"
        /class_name = "NodeMailerEffect"
        /quality_score = 1.0
        /compliance_score = null
        /checks = {"quality":true}
        /research = {"knowledge":[{"content":"about Sends a mail to a user.","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}],"examples":[{"content":"def f(): ...","summary":"an example"}]}
        /warnings = []

        calls: rag_search_code_examples rag_search_knowledge_base"#]]).await;
}

/// The score is low, then the check cannot run.
async fn check_bad_code(form: Form, level: &str, expected: [&Expect; 2]) {
    let answers = [
        json!({ "success": true, "quality_score": 0.5,
                "onex_compliance": { "violations": ["no contract"] } }),
        json!({ "success": false, "error": "model not loaded" }),
    ];
    for (answer, expected) in answers.into_iter().zip(expected) {
        let bench = Bench::new(form).await;
        bench.standin.answer_next("assess_code_quality", answer);
        let pointers = ["/quality_score", "/checks", "/warnings"];
        let shown = bench.show("coder", &bench.coder_input(level), &pointers).await;
        let is_written = bench.ground.read("node_mailer_effect.py").is_some();
        expected.assert_eq(&format!("{shown}\nwritten: {is_written}"));
    }
}

#[tokio::test]
async fn e2e_bad_code_is_written_or_not_as_the_level_says() {
    check_bad_code(Form::OmniNode, "strict", [&expect![[r#"
        check_failed: the check quality is not met: [{"quality_score":0.5,"wanted":0.85,"violations":["no contract"]}]
        calls: assess_code_quality check_architectural_compliance perform_rag_query perform_rag_query
        written: false"#]], &expect![[r"
            check_failed: the check quality could not run: model not loaded
            calls: assess_code_quality check_architectural_compliance perform_rag_query perform_rag_query
            written: false"]]]).await;
    check_bad_code(Form::OmniNode, "moderate", [&expect![[r#"
        /quality_score = 0.5
        /checks = {"quality":false,"compliance":null}
        /warnings = ["the check quality is not met: [{\"quality_score\":0.5,\"wanted\":0.7,\"violations\":[\"no contract\"]}]"]

        calls: assess_code_quality perform_rag_query perform_rag_query
        written: true"#]], &expect![[r#"
            /quality_score = null
            /checks = {"quality":null,"compliance":null}
            /warnings = ["the check quality could not run: model not loaded"]

            calls: assess_code_quality perform_rag_query perform_rag_query
            written: true"#]]]).await;
    check_bad_code(
        Form::OmniNode,
        "lenient",
        [
            &expect![[r#"
                /quality_score = 0.5
                /checks = {"quality":true,"compliance":null}
                /warnings = []

                calls: assess_code_quality perform_rag_query perform_rag_query
                written: true"#]],
            &expect![[r#"
                /quality_score = null
                /checks = {"quality":null,"compliance":null}
                /warnings = ["the check quality could not run: model not loaded"]

                calls: assess_code_quality perform_rag_query perform_rag_query
                written: true"#]],
        ],
    )
    .await;
    check_bad_code(Form::Gateway, "strict", [&expect![[r#"
        check_failed: the check quality is not met: [{"quality_score":0.5,"wanted":0.85,"violations":["no contract"]}]
        calls: assess_code_quality check_architectural_compliance perform_rag_query perform_rag_query
        written: false"#]], &expect![[r"
            check_failed: the check quality could not run: model not loaded
            calls: assess_code_quality check_architectural_compliance perform_rag_query perform_rag_query
            written: false"]]]).await;
}

async fn check_debug(form: Form, depth: &str, pointers: &[&str], expected: &Expect) {
    let bench = Bench::new(form).await;
    let shown = bench.show("debug", &bench.debug_input(depth), pointers).await;
    expected.assert_eq(&shown);
}

#[tokio::test]
async fn e2e_debug_runs_on_flat_tools_and_through_the_gateway() {
    for form in [Form::OmniNode, Form::Gateway] {
        check_debug(form, "quick", &DEBUG, &expect![[r#"
            /baseline = {"files":["/ws/bad.py"],"quality":[{"path":"/ws/bad.py","quality_score":0.4,"onex_compliance":{"score":0.4,"violations":["no contract"],"recommendations":[]}}]}
            /focus = {"violations":[],"anti_patterns":[],"worst_file":"/ws/bad.py"}
            /root_cause = {"hypothesis":null,"knowledge":{"success":true,"query":"debugging KeyError: 'k' systematic root cause analysis","results":{"rag_search":{"results":[{"content":"use contracts"}]}},"synthesis":{"key_findings":["contracts first"],"patterns_identified":[]}},"confidence":0.5}
            /optimisation = {"opportunities":[]}
            /synthesis = {"recommendations":[],"best_practices":[]}
            /warnings = []

            calls: assess_code_quality perform_rag_query"#]]).await;
        check_debug(form, "standard", &DEBUG, &expect![[r#"
            /baseline = {"files":["/ws/bad.py"],"quality":[{"path":"/ws/bad.py","quality_score":0.4,"onex_compliance":{"score":0.4,"violations":["no contract"],"recommendations":[]}}]}
            /focus = {"violations":["no contract"],"anti_patterns":["god object"],"worst_file":"/ws/bad.py"}
            /root_cause = {"hypothesis":null,"knowledge":{"success":true,"query":"debugging KeyError: 'k' systematic root cause analysis","results":{"rag_search":{"results":[{"content":"use contracts"}]}},"synthesis":{"key_findings":["contracts first"],"patterns_identified":[]}},"confidence":1.0}
            /optimisation = {"opportunities":[]}
            /synthesis = {"recommendations":["add a contract"],"best_practices":[]}
            /warnings = []

            calls: assess_code_quality check_architectural_compliance get_quality_patterns perform_rag_query"#]]).await;
        check_debug(form, "deep", &DEBUG, &expect![[r#"
            /baseline = {"files":["/ws/bad.py"],"quality":[{"path":"/ws/bad.py","quality_score":0.4,"onex_compliance":{"score":0.4,"violations":["no contract"],"recommendations":[]}}]}
            /focus = {"violations":["no contract"],"anti_patterns":["god object"],"worst_file":"/ws/bad.py"}
            /root_cause = {"hypothesis":null,"knowledge":{"success":true,"query":"debugging KeyError: 'k' systematic root cause analysis","results":{"rag_search":{"results":[{"content":"use contracts"}]}},"synthesis":{"key_findings":["contracts first"],"patterns_identified":[]}},"confidence":1.0}
            /optimisation = {"opportunities":[{"title":"cache it"}]}
            /synthesis = {"recommendations":["add a contract"],"best_practices":["god object"]}
            /warnings = []

            calls: assess_code_quality check_architectural_compliance get_quality_patterns get_quality_patterns identify_optimization_opportunities perform_rag_query"#]]).await;
    }
}

#[tokio::test]
async fn e2e_debug_runs_on_archon_v1() {
    let pointers = [
        "/investigation/analysis_depth",
        "/quality",
        "/knowledge",
        "/examples",
        "/pages",
        "/warnings",
    ];
    check_debug(Form::ArchonV1, "quick", &pointers, &expect![[r#"
        /investigation/analysis_depth = "quick"
        /quality = []
        /knowledge = [{"content":"about KeyError: 'k'","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}]
        /examples = []
        /pages = []
        /warnings = []

        calls: rag_search_knowledge_base"#]]).await;
    check_debug(Form::ArchonV1, "standard", &pointers, &expect![[r#"
        /investigation/analysis_depth = "standard"
        /quality = [{"path":"/ws/bad.py","quality_score":0.367,"violations":["node_class: no class Node…Compute","method: no method execute_compute","contract_docstring: no node class","contract_model: no class ModelContractCompute of BaseModel","typed_models: no class of BaseModel"]}]
        /knowledge = [{"content":"about KeyError: 'k'","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}]
        /examples = [{"content":"def f(): ...","summary":"an example"}]
        /pages = []
        /warnings = []

        calls: rag_search_code_examples rag_search_knowledge_base"#]]).await;
    check_debug(Form::ArchonV1, "deep", &pointers, &expect![[r#"
        /investigation/analysis_depth = "deep"
        /quality = [{"path":"/ws/bad.py","quality_score":0.367,"violations":["node_class: no class Node…Compute","method: no method execute_compute","contract_docstring: no node class","contract_model: no class ModelContractCompute of BaseModel","typed_models: no class of BaseModel"]}]
        /knowledge = [{"content":"about KeyError: 'k'","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}]
        /examples = [{"content":"def f(): ...","summary":"an example"}]
        /pages = [{"page_id":"p-1","text":"the whole page"}]
        /warnings = []

        calls: rag_read_full_page rag_search_code_examples rag_search_knowledge_base"#]]).await;
}

#[tokio::test]
async fn e2e_research_reads_what_it_finds() {
    let bench = Bench::new(Form::ArchonV1).await;
    let pointers = ["/results", "/pages", "/examples", "/warnings"];
    let input = json!({ "question": "node contracts", "match_count": 2 });
    expect![[r#"
        /results = [{"content":"about node contracts","similarity":0.8,"metadata":{"page_id":"p-1","url":"https://docs/p-1"}}]
        /pages = [{"page_id":"p-1","text":"the whole page"}]
        /examples = [{"content":"def f(): ...","summary":"an example"}]
        /warnings = []

        calls: rag_read_full_page rag_search_code_examples rag_search_knowledge_base"#]].assert_eq(&bench.show("research", &input, &pointers).await);
    let told = json!({ "query": "node contracts", "match_count": 2, "return_mode": "chunks" });
    assert_eq!(bench.standin.told("rag_search_knowledge_base"), [told]);
    for wrong in [json!({}), json!({ "query": 1 }), json!({ "query": "a", "limit": 3 })] {
        bench.run("research", &wrong).await.unwrap_err();
    }
    let none = Bench::new(Form::OmniNode).await;
    expect![[r#"
        agent "research" needs one of the tools agent_research, research, rag_search_knowledge_base, and upstream "archon" has none of them
        calls: "#]].assert_eq(&none.show("research", &input, &pointers).await);
}

#[tokio::test]
async fn e2e_context_that_is_there_replaces_the_research() {
    for form in [Form::OmniNode, Form::Gateway, Form::ArchonV1] {
        let bench = Bench::new(form).await;
        let mut input = bench.coder_input("moderate");
        input["pre_gathered_context"] = json!({ "rag:mail": "use the port" });
        bench.run("coder", &input).await.unwrap();
        let called = bench.standin.called();
        assert!(!called.iter().any(|it| it.contains("rag")), "{called:?}");
    }
}

#[tokio::test]
async fn e2e_a_file_outside_of_the_workspace_is_neither_read_nor_written() {
    for form in [Form::OmniNode, Form::ArchonV1] {
        let bench = Bench::new(form).await;
        let mut input = bench.coder_input("lenient");
        input["output_path"] = json!("/etc/parallel-dispatch-test.py");
        let error = bench.run("coder", &input).await.unwrap_err();
        assert!(error.contains("not inside a workspace"), "{error}");
        let mut input = bench.debug_input("quick");
        input["affected_files"] = json!(["/etc/passwd"]);
        let error = bench.run("debug", &input).await.unwrap_err();
        assert!(error.contains("not inside a workspace"), "{error}");
    }
}

#[tokio::test]
async fn e2e_a_setting_goes_before_what_would_be_found() {
    let standin = StandIn::start(Form::ArchonV1).await;
    let recipe = Some("archon_research".to_owned());
    let bench = Bench::with(standin, AgentSetting { recipe, ..AgentSetting::default() });
    let output = bench.run("coder", &json!({ "query": "x" })).await.unwrap();
    assert_eq!(output["query"], "x");
    let standin = StandIn::start(Form::ArchonV1).await;
    let recipe = Some("omninode_coder".to_owned());
    let bench = Bench::with(standin, AgentSetting { recipe, ..AgentSetting::default() });
    let error = bench.run("coder", &json!({})).await.unwrap_err();
    expect![[r#"agent "coder" cannot run its recipe omninode_coder: step quality calls assess_code_quality, which upstream "archon" does not have"#]].assert_eq(&error);
}

#[tokio::test]
async fn e2e_a_form_without_what_its_recipe_needs_is_refused_by_name() {
    let lacking = ["agent_coder", "rag_search_code_examples", "rag_read_full_page"];
    let standin = StandIn::without(Form::ArchonV1, &lacking).await;
    let bench = Bench::with(standin, AgentSetting::default());
    let output = bench.run("coder", &bench.coder_input("moderate")).await.unwrap();
    assert_eq!(output["research"]["examples"], json!([]));
    let standin = StandIn::without(Form::ArchonV1, &["rag_search_knowledge_base"]).await;
    let bench = Bench::with(standin, AgentSetting::default());
    let error = bench.run("coder", &bench.coder_input("moderate")).await.unwrap_err();
    expect![[r#"agent "coder" needs one of the tools agent_coder, coder, assess_code_quality, archon_menu, rag_search_knowledge_base, and upstream "archon" has none of them"#]].assert_eq(&error);
}
