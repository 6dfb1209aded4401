//! `sentir cluster`: every algorithm, its outputs, and what is said where there are no groups. The heat map of `sentir similarity`.

mod common;

use common::{bert, done, path, sentir};
use serde_json::Value;

/// Texts of three kinds.
fn texts(folder: &std::path::Path) -> String {
    let mut text = String::from("text,kind\n");
    for i in 0..12 {
        for kind in ["cat cat cat", "lamp in the window", "Поезд опоздал"] {
            text += &format!("{kind} {kind} {i},{}\n", kind.split(' ').next().unwrap());
        }
    }
    std::fs::write(folder.join("texts.csv"), text).unwrap();
    path(folder.join("texts.csv"))
}

#[test]
fn every_algorithm_finds_the_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let (model, input) = (bert(), texts(folder.path()));
    let words = ["cluster", "--model", &model, "--input", &input, "--column", "text", "--labels", "kind"];
    let run = |more: &[&str]| done(&[&words[..], more].concat());
    for more in [
        &["--n-clusters", "3"][..],
        &["--algorithm", "agglomerative", "--n-clusters", "3", "--linkage", "ward"],
        &["--algorithm", "hdbscan"],
        &["--threshold", "0.99", "--min-community-size", "5"],
    ] {
        let answer = run(&[more, &["--json"]].concat());
        let found: Value = serde_json::from_str(&answer.stdout).unwrap();
        let clusters = found["clusters"].as_array().unwrap();
        assert!(clusters.len() >= 2, "{more:?}: {found}");
        assert!(found["v_measure"].as_f64().unwrap() > 0.5, "{more:?}: {found}");
        let sizes: Vec<u64> = clusters.iter().map(|own| own["size"].as_u64().unwrap()).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>() + found["in_none"].as_u64().unwrap(), 36);
    }
    let said = run(&["--n-clusters", "3", "--output", &at("out.jsonl"), "--html", &at("map.html")]);
    assert!(
        said.stdout.contains("36 texts in 3 groups, 0 in none") && said.stdout.contains("V-measure"),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains("12 texts: "), "{}", said.stdout);
    let lines = std::fs::read_to_string(at("out.jsonl")).unwrap();
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(lines.lines().count() == 36 && first["cluster"].is_i64() && first["text"].is_string());
    let page = std::fs::read_to_string(at("map.html")).unwrap();
    assert!(
        page.contains("const data = {")
            && page.contains("Поезд опоздал")
            && page.contains("default-src 'none'")
    );
    assert!(!page.contains("http://") && !page.contains("https://"));
    assert!(page.contains("(t-SNE)") && !page.contains("vectors differ most"));
    run(&["--n-clusters", "3", "--html", &at("flat.html"), "--projection", "pca"]);
    let flat = std::fs::read_to_string(at("flat.html")).unwrap();
    assert!(flat.contains("vectors differ most") && !flat.contains("(t-SNE)"));
}

#[test]
fn texts_that_end_a_script_are_only_texts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    std::fs::write(at("texts.txt"), "</script><script>alert(1)</script>\n<b>two</b>\n\"three\"\n").unwrap();
    done(&[
        "cluster",
        "--model",
        &bert(),
        "--input",
        &at("texts.txt"),
        "--n-clusters",
        "2",
        "--html",
        &at("map.html"),
    ]);
    let page = std::fs::read_to_string(at("map.html")).unwrap();
    assert_eq!(page.matches("</script>").count(), 1);
    assert!(!page.contains("<b>two"));
}

#[test]
fn what_cannot_be_grouped_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let input = texts(folder.path());
    std::fs::write(at("one.txt"), "alone\n").unwrap();
    std::fs::write(at("same.txt"), "same\nsame\nsame\n").unwrap();
    let model = bert();
    let run = |words: &[&str]| sentir([&["cluster", "--model", &model], words].concat());
    for (words, code, part) in [
        (vec!["--input", &at("one.txt")], 1, "give two or more"),
        (vec!["--input", &at("nothing.txt")], 1, "nothing.txt"),
        (vec!["--input", &input, "--n-clusters", "3"], 1, "--column"),
        (vec!["--input", &at("same.txt"), "--n-clusters", "4"], 1, "at least 4 rows, got 3"),
        (vec!["--input", &at("same.txt"), "--algorithm", "kmeans"], 1, "--n-clusters"),
        (vec!["--input", &at("same.txt"), "--algorithm", "agglomerative"], 1, "--distance-threshold"),
        (vec!["--input", &at("same.txt"), "--algorithm", "hdbscan"], 1, "1 to 3"),
        (vec!["--input", &at("same.txt"), "--n-clusters", "0"], 2, "--n-clusters"),
        (vec!["--input", &at("same.txt"), "--linkage", "median"], 2, "average, complete"),
        (vec!["--input", &at("same.txt"), "--labels", "kind"], 1, "column"),
    ] {
        let answer = run(&words);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(part), "{words:?}: {}", answer.stderr);
    }
    let none = run(&["--input", &at("same.txt")]);
    assert!(none.code == Some(0) && none.stderr.contains("no groups: try"), "{}", none.stderr);
    assert!(run(&["--input", &at("same.txt"), "--n-clusters", "2"]).stdout.contains("3 texts in 1 groups"));
}

#[test]
fn columns_are_compared_and_all_pairs_are_a_heat_map() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    std::fs::write(at("pairs.csv"), "a,b\nthe cat,the cat\na red bus,Поезд опоздал\n").unwrap();
    let (model, input) = (bert(), at("pairs.csv"));
    let pairs = ["similarity", "--model", &model, "--input", &input, "--column", "a", "--column2", "b"];
    let text = done(&pairs).stdout;
    assert!(text.starts_with("  1.0000      0  the cat | the cat\n") && text.lines().count() == 2, "{text}");
    let json: Value = serde_json::from_str(&done(&[&pairs[..], &["--json"]].concat()).stdout).unwrap();
    let scores = json["similarities"].as_array().unwrap();
    let one = done(&["similarity", "--model", &model, "a red bus", "Поезд опоздал"]).stdout;
    assert_eq!(format!("{:.4}\n", scores[1].as_f64().unwrap()), one);
    done(&["similarity", "--model", &model, "--html", &at("heat.html"), "the <cat>", "a red bus", "Поезд"]);
    let page = std::fs::read_to_string(at("heat.html")).unwrap();
    assert!(page.contains("the &lt;cat&gt;") && page.matches("<td ").count() == 9, "{page}");
    let many: String = (0..301).map(|i| format!("text {i}\n")).collect();
    std::fs::write(at("many.txt"), many).unwrap();
    let answer =
        sentir(["similarity", "--model", &model, "--input", &at("many.txt"), "--html", &at("heat2.html")]);
    assert!(answer.code == Some(1) && answer.stderr.contains("fits on no screen"), "{}", answer.stderr);
}
