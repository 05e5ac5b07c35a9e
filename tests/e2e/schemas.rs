//! The schemas in the repository are those of the program.

use std::{fs, path::Path};

use serde_json::Value;

use crate::space::TestSpace;

#[tokio::test]
async fn e2e_the_schemas_in_the_repository_are_the_programs_own() {
    let space = TestSpace::offline();
    let printed = space.run(&["schema"], "").await.json();
    let printed = printed.as_object().unwrap();
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tool-schemas"));
    let mut names: Vec<_> = printed.keys().map(|it| format!("{it}.json")).collect();
    names.sort();
    assert_eq!(files(dir), names);
    for (name, schema) in printed {
        let text = fs::read_to_string(dir.join(format!("{name}.json"))).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(&kept, schema, "run: parallel-dispatch schema --write tool-schemas");
    }
    assert_eq!(space.run(&["schema", "--write", "schemas"], "").await.code, Some(0));
    assert_eq!(files(&space.workspace().join("schemas")), names);
}

fn files(dir: &Path) -> Vec<String> {
    let name = |it: std::io::Result<fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(name).collect();
    names.sort();
    names
}
