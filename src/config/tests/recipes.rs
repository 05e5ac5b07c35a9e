//! Recipes: kept as they are written, and no workspace's business.

use expect_test::expect;

use super::*;

const RECIPE: &str = "
recipes:
  finder:
    steps: [{id: a, call: find, args: {q: '{{ input.q }}', n: 3}}]
    output: '{{ steps.a.value }}'
agents:
  finder: {recipe: finder}
";

#[test]
fn recipes_are_kept_as_they_are_written_with_their_places() {
    let settings = Machine::new(&[(USER, RECIPE)]).load().unwrap().settings;
    let expected = json!({
        "steps": [{ "id": "a", "call": "find", "args": { "q": "{{ input.q }}", "n": 3 } }],
        "output": "{{ steps.a.value }}",
    });
    assert_eq!(settings.recipes["finder"], expected);
    assert!(settings.sources["recipes.finder"].to_string().ends_with("config.yaml:3"));
    assert_eq!(settings.agents["finder"].recipe.as_deref(), Some("finder"));
}

#[test]
fn a_stronger_layer_replaces_a_recipe_and_leaves_the_others() {
    let other = "recipes: {finder: {extends: archon_research}}";
    let first = "recipes: {finder: {a: 1}, keeper: {b: 2}}";
    let settings = Machine::new(&[(SYSTEM, first), (USER, other)]).load().unwrap().settings;
    assert_eq!(settings.recipes["finder"], json!({ "extends": "archon_research" }));
    assert_eq!(settings.recipes["keeper"], json!({ "b": 2 }));
}

#[test]
fn names_are_names_and_a_tool_excludes_a_recipe() {
    Machine::new(&[(USER, "recipes: {a.b: {}}\nagents: {x: {recipe: r, tool: t}}\n")])
        .check(&expect![[r"
            @/home/.config/parallel-dispatch/config.yaml:1: recipes.a.b: a name is 1 to 64 letters, digits, `_` and `-`
            @/home/.config/parallel-dispatch/config.yaml:2: agents.x.tool: says what `recipe` says too; keep one of the two"]]);
    Machine::new(&[(WORKSPACE, RECIPE)]).check(&expect![[r"
        @/project/.parallel-dispatch.yaml:3: recipes.finder: a workspace's file may not set it; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may
        @/project/.parallel-dispatch.yaml:7: agents.finder.recipe: a workspace's file may not set a new agent; ~/.config/parallel-dispatch/config.yaml, /etc/parallel-dispatch/config.yaml and --config may"]]);
}
