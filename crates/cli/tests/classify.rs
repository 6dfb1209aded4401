//! `sentir classify`: learned, judged, predicted; and what is said where something does not fit.

mod common;

use common::{bert, done, path, root, sentir};
use serde_json::Value;

/// Texts whose first word tells the class.
fn texts(folder: &std::path::Path) -> String {
    let mut text = String::from("text,kind,sort\n");
    for i in 0..12 {
        for (kind, sort) in [("cat", "animal"), ("dog", "animal"), ("bus", "thing"), ("lamp", "thing")] {
            text += &format!("\"{kind} {kind} {kind} number {i}, {kind}\",{kind},{sort}\n");
        }
    }
    std::fs::write(folder.join("texts.csv"), text).unwrap();
    path(folder.join("texts.csv"))
}

#[test]
fn classes_are_learned_judged_and_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let (model, input) = (bert(), texts(folder.path()));
    let train = |more: &[&str]| {
        let words = [
            "classify", "train", "--model", &model, "--input", &input, "--column", "text", "--label", "kind",
        ];
        done(&[&words[..], more].concat())
    };
    let said = train(&["--output", &at("one"), "--html", &at("report.html"), "--json", "--c", "100"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    let level = &report["levels"][0];
    assert_eq!(
        (&level["name"], &level["labels"][1], &report["held_out"]),
        (&"kind".into(), &"cat".into(), &"5 folds".into())
    );
    assert!(level["accuracy"].as_f64().unwrap() > 0.8, "{level}");
    assert_eq!(level["classes"]["bus"]["support"], 12);
    let page = std::fs::read_to_string(at("report.html")).unwrap();
    assert!(page.contains("kind: accuracy") && page.contains("title=\"bus as bus: "), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));

    let predict = |classifier: &str, more: &[&str]| {
        let words = [
            "classify",
            "predict",
            "--model",
            &model,
            "--classifier",
            classifier,
            "--input",
            &input,
            "--column",
            "text",
        ];
        done(&[&words[..], more].concat())
    };
    let lines: Vec<Value> = predict(&at("one"), &["--json", "--top-k", "2"])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((lines.len(), lines[0]["kind"].as_array().unwrap().len()), (48, 2));
    let right = |lines: &[Value]| {
        let kinds = ["cat", "dog", "bus", "lamp"];
        lines.iter().enumerate().filter(|(row, line)| line["kind"][0]["class"] == kinds[row % 4]).count()
    };
    assert!(right(&lines) > 40, "{}", right(&lines));
    assert!(predict(&at("one"), &[]).stdout.contains("    kind: "));
    predict(&at("one"), &["--output", &at("found.jsonl")]);
    assert_eq!(std::fs::read_to_string(at("found.jsonl")).unwrap().lines().count(), 48);

    // Two levels: what is predicted of the second lies within the first.
    let said = train(&[
        "--parent-label",
        "sort",
        "--output",
        &at("two"),
        "--choose-c",
        "--calibrate",
        "--class-weight",
        "balanced",
    ]);
    assert!(
        said.stdout.contains("sort: accuracy") && said.stdout.contains("kind: accuracy"),
        "{}",
        said.stdout
    );
    assert!(said.stderr.contains("C = "), "{}", said.stderr);
    for line in predict(&at("two"), &["--json"]).stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let within = if line["sort"][0]["class"] == "animal" { ["cat", "dog"] } else { ["bus", "lamp"] };
        assert!(within.contains(&line["kind"][0]["class"].as_str().unwrap()), "{line}");
    }
    // By prototypes, judged by a file of its own.
    let said = train(&["--prototype", "--output", &at("three"), "--test", &input]);
    assert!(said.stdout.contains("texts.csv: 48 texts, 4 classes"), "{}", said.stdout);
    // The model is trained before, and is what predicts.
    let said = train(&["--fine-tune", "--num-iterations", "2", "--output", &at("four"), "--test", &input]);
    assert!(
        said.stdout.contains("accuracy") && !said.stderr.contains("too good"),
        "{} {}",
        said.stdout,
        said.stderr
    );
    assert!(std::fs::read_to_string(at("four-model/README.md")).unwrap().contains("CosineSimilarityLoss"));
    let words = [
        "classify",
        "predict",
        "--classifier",
        &at("four"),
        "--input",
        &input,
        "--column",
        "text",
        "--json",
        "--model",
    ];
    let found = done(&[&words[..], &[&at("four-model")]].concat()).stdout;
    let lines: Vec<Value> = found.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(right(&lines) > 40, "{}", right(&lines));
    // The examples that --help shows.
    let faq = path(root().join("examples/faq.jsonl"));
    let words =
        ["classify", "train", "--model", &model, "--input", &faq, "--column", "question", "--label", "topic"];
    let said = done(&[&words[..], &["--output", &at("faq")]].concat());
    assert!(said.stderr.contains("no report: the class \"live\" has 3 texts"), "{}", said.stderr);
}

#[test]
fn what_does_not_fit_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let (bert, input) = (bert(), texts(folder.path()));
    for (name, text) in [
        ("one.csv", "text,kind,sort\na,x,y\nb,x,y\n"),
        ("empty.csv", "text,kind,sort\na,x,y\nb,,y\n"),
        ("rare.csv", "text,kind,sort\na,x,y\nb,x,y\nc,z,y\n"),
        ("two.csv", "text,kind,sort\na,x,y\nb,z,y\nc,x,w\n"),
        ("new.csv", "text,kind,sort\na,whale,animal\n"),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    let train = [
        "classify",
        "train",
        "--model",
        &bert,
        "--column",
        "text",
        "--label",
        "kind",
        "--output",
        &at("out"),
    ];
    let run = |more: &[&str]| sentir([&train[..], more].concat());
    for (words, code, part) in [
        (vec!["--input", &at("one.csv")], 1, "at least 2 classes, got 1"),
        (vec!["--input", &at("empty.csv")], 1, "row 2: the class in \"kind\" is empty"),
        (
            vec!["--input", &at("rare.csv"), "--calibrate"],
            1,
            "the class \"z\" of kind has 1 texts, fewer than --folds 5",
        ),
        (vec!["--input", &at("two.csv"), "--parent-label", "sort"], 1, "a class has one parent"),
        (vec!["--input", &input, "--test", &at("new.csv")], 1, "the class \"whale\" does not come in"),
        (vec!["--input", &input, "--c", "0"], 1, "C is 0"),
        (vec!["--input", &at("nothing.csv")], 1, "nothing.csv"),
        (vec!["--input", &input, "--choose-c", "--c", "2"], 2, "cannot be used with"),
        (vec!["--input", &input, "--class-weight", "much"], 2, "balanced"),
    ] {
        let answer = run(&words);
        assert_eq!(answer.code, Some(code), "{words:?}: {}", answer.stderr);
        assert!(answer.stderr.contains(part), "{words:?}: {}", answer.stderr);
        assert!(!folder.path().join("out").exists(), "{words:?}");
    }
    assert_eq!(run(&["--input", &input]).code, Some(0));
    let again = run(&["--input", &input]);
    assert!(again.code == Some(1) && again.stderr.contains("exists already"), "{}", again.stderr);
    let cased = path(root().join("golden/models/bert-cased"));
    let predict = |model: &str, classifier: &str| {
        sentir([
            "classify",
            "predict",
            "--model",
            model,
            "--classifier",
            classifier,
            "--input",
            &input,
            "--column",
            "text",
        ])
    };
    let other = predict(&cased, &at("out"));
    assert!(other.code == Some(1) && other.stderr.contains("it was made with"), "{}", other.stderr);
    let none = predict(&bert, &at("nothing"));
    assert!(none.code == Some(1) && none.stderr.contains("sentir classify train"), "{}", none.stderr);
}

/// Whether two texts speak of the same thing is a matter of both: a classifier of pairs, measured by `sentir evaluate --label-accuracy`.
#[test]
fn pairs_are_classified_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| path(folder.path().join(name));
    let words = ["cat", "dog", "bus", "lamp"];
    let mut text = String::from("first,second,relation\n");
    for i in 0..10 {
        for (a, one) in words.iter().enumerate() {
            let other = words[(a + 1 + i % 3) % 4];
            text += &format!("{one} {one} {i},{one} {one},same\n{one} {one} {i},{other} {other},other\n");
        }
    }
    std::fs::write(at("pairs.csv"), text).unwrap();
    let (model, input) = (bert(), at("pairs.csv"));
    let train = [
        "classify",
        "train",
        "--model",
        &model,
        "--input",
        &input,
        "--column",
        "first",
        "--column2",
        "second",
        "--label",
        "relation",
        "--c",
        "1000",
        "--json",
        "--output",
        &at("own"),
    ];
    let report: Value = serde_json::from_str(&done(&train).stdout).unwrap();
    let accuracy = report["levels"][0]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.8, "{accuracy}");
    let predict = [
        "classify",
        "predict",
        "--model",
        &model,
        "--classifier",
        &at("own"),
        "--input",
        &input,
        "--column",
        "first",
    ];
    let found = done(&[&predict[..], &["--column2", "second", "--json"]].concat()).stdout;
    let right = found.lines().enumerate().filter(|(row, line)| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["relation"][0]["class"] == ["same", "other"][row % 2]
    });
    let right = right.count() as f64 / 80.0;
    let measure = |columns: &str| {
        sentir([
            "evaluate",
            "--model",
            &model,
            "--label-accuracy",
            &input,
            "--classifier",
            &at("own"),
            "--label-accuracy-columns",
            columns,
            "--json",
        ])
    };
    let measured: Value = serde_json::from_str(&measure("first,second,relation").ok()).unwrap();
    assert!(
        (measured["label-accuracy"]["accuracy"].as_f64().unwrap() - right).abs() < 1e-9,
        "{measured} {right}"
    );

    // Training changes the model that the classifier belongs to.
    std::fs::write(at("suite.toml"), "[[data]]\nname = \"a\"\nlabel-accuracy = \"pairs.csv\"\nclassifier = \"own\"\nlabel-accuracy-columns = [\"first\", \"second\", \"relation\"]\n").unwrap();
    let said = sentir([
        "train",
        "--model",
        &model,
        "--data",
        &input,
        "--columns",
        "first,second",
        "--eval-suite",
        &at("suite.toml"),
        "--out",
        &at("trained"),
    ]);
    assert!(said.code == Some(1) && said.stderr.contains("measure it afterwards"), "{}", said.stderr);

    // One text where two must be, and the other way round.
    let said = sentir(predict);
    assert!(said.code == Some(1) && said.stderr.contains("give --column2"), "{}", said.stderr);
    let said = measure("first,relation");
    assert!(said.code == Some(1) && said.stderr.contains("three names are expected"), "{}", said.stderr);
    let said = sentir([&train[..], &["--fine-tune"]].concat());
    assert_eq!(said.code, Some(2), "{}", said.stderr);
}
