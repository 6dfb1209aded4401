//! The page as a reader and a browser find it: whole, escaped, with every number in its place.

use std::collections::BTreeMap;

use super::*;

/// Checks that every tag is closed, in order, and returns the text between tags and of titles.
fn text_of(page: &str) -> String {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").expect("the document type");
    let (mut open, mut text): (Vec<&str>, String) = (Vec::new(), String::new());
    while let Some(start) = rest.find('<') {
        text.push_str(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes of <{tag}>");
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()), "<{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another");
        } else if !tag.ends_with('/') && !["meta", "br"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?} are open");
    assert_eq!(rest.trim(), "");
    text
}

fn log() -> Vec<LogEntry> {
    let step = |step: u32, loss| LogEntry {
        step: step.into(),
        epoch: f64::from(step) / 40.0,
        loss: Some(loss),
        learning_rate: Some(2e-5 * f64::from(100 - step) / 100.0),
        grad_norm: Some(loss * 3.0 + f64::from(step % 7)),
        tokens_per_second: Some(1000.0 + f64::from(step)),
        seconds: None,
        metrics: BTreeMap::new(),
    };
    let evaluation = |step: u32, quality: f64| LogEntry {
        step: step.into(),
        epoch: f64::from(step) / 40.0,
        metrics: [
            ("dev_cosine_ndcg@10", quality),
            ("dev_cosine_ndcg@3", quality - 0.1),
            ("eval_loss", 1.0 - quality),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        ..LogEntry::default()
    };
    let mut entries: Vec<LogEntry> = (1..=10_u32).map(|n| step(n * 10, 2.0 / f64::from(n))).collect();
    entries.insert(4, evaluation(40, 0.625));
    entries.insert(8, evaluation(70, 0.75));
    entries.push(evaluation(100, 0.6875));
    entries
}

fn page(entries: &[LogEntry]) -> String {
    let facts = [("loss".to_owned(), "MultipleNegativesRankingLoss".to_owned())];
    html(&Report { title: "A model", facts: &facts, entries })
}

#[test]
fn a_page_holds_what_the_log_holds() {
    let page = page(&log());
    let text = text_of(&page);
    for expected in [
        "MultipleNegativesRankingLoss",
        "100 (2.5 epochs)",
        "2 at step 10, 0.2 at step 100",
        "Training loss: 0.66667 at step 30, epoch 0.75",
        "Learning rate: 1.8e-5 at step 10, epoch 0.25",
        "Gradient norm: 6.5 at step 40, epoch 1",
        "Speed: 1100 at step 100, epoch 2.5",
        "dev_cosine_ndcg@10: 0.625 at step 40, epoch 1",
        "L2 norm before clipping",
        "tokens per second",
        "1055 (mean",
    ] {
        assert!(text.contains(expected), "no {expected:?}");
    }
    // First, last, best and its step; of a loss the lowest is best. @3 stands before @10.
    let row = |cells: [&str; 5]| {
        let [name, numbers @ ..] = cells;
        let numbers = numbers.map(|cell| format!("<td class=\"n\">{cell}</td>")).concat();
        let row = format!("<tr><td>{name}</td>{numbers}</tr>");
        page.find(&row).unwrap_or_else(|| panic!("no {row}"))
    };
    let three = row(["dev_cosine_ndcg@3", "0.525", "0.5875", "0.65", "70"]);
    let ten = row(["dev_cosine_ndcg@10", "0.625", "0.6875", "0.75", "70"]);
    row(["eval_loss", "0.375", "0.3125", "0.25", "70"]);
    assert!(three < ten);
    // Loss, learning rate, gradient norm, speed, one family of two, the loss of the evaluation.
    assert_eq!(page.matches("<figure>").count(), 6);
}

/// The loss falls from 2 to 0.2 over steps 10 to 100: the first point is at the top left, the last at the bottom right.
#[test]
fn points_are_where_their_numbers_are() {
    let page = page(&log());
    let figure = page.split("<figure>").nth(1).unwrap();
    let places: Vec<[f64; 2]> = figure
        .split("class=\"dot s0\"")
        .skip(1)
        .map(|dot| {
            ["cx=\"", "cy=\""]
                .map(|key| dot.split_once(key).unwrap().1.split('"').next().unwrap().parse().unwrap())
        })
        .collect();
    assert_eq!(places.len(), 10);
    // The plot is 84 to 624 by 272 to 36; the vertical axis is 0 to 2, the horizontal one 10 to 100.
    for (n, place) in (1..=10_u32).zip(&places) {
        let expected = [84.0 + 60.0 * f64::from(n - 1), 272.0 - 236.0 / f64::from(n)];
        assert!(
            place.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 0.06),
            "{place:?} {expected:?}"
        );
    }
    assert!(figure.contains("text-anchor=\"end\" x=\"76.0\" y=\"276.0\">0<"), "the lowest label");
    assert!(figure.contains("y=\"40.0\">2.0<"), "the highest label");
}

#[test]
fn nothing_comes_from_elsewhere() {
    let page = page(&log());
    for absent in ["http:", "https:", "<script", "url(", "@import", "src=", "href="] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn hostile_texts_are_only_texts() {
    let hostile = "</title><script>alert('x')</script>\" onload=\"evil() &amp; \u{0}\u{1b}";
    let mut entries = log();
    for entry in &mut entries {
        if !entry.metrics.is_empty() {
            entry.metrics.insert(hostile.to_owned(), 0.5);
            entry.metrics.insert(format!("{hostile}@3"), 0.25);
            entry.metrics.insert(format!("{hostile}@10"), 0.75);
        }
    }
    let facts = [(hostile.to_owned(), hostile.to_owned())];
    let page = html(&Report { title: hostile, facts: &facts, entries: &entries });
    let text = text_of(&page);
    assert!(!page.contains("<script") && !page.contains("\" onload") && !page.contains('\u{0}'));
    let escaped = "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;evil() &amp;amp; \u{fffd}\u{fffd}";
    // Title and heading; a fact; a row and a point each of three metrics, and more.
    assert!(text.matches(escaped).count() > 10);
    assert_eq!(escape("a < b"), "a &lt; b");
}

#[test]
fn any_log_makes_a_page() {
    let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, -0.0, 1.0];
    let entries: Vec<LogEntry> = strange
        .iter()
        .enumerate()
        .map(|(at, &value)| LogEntry {
            step: if at == 6 { u64::MAX } else { 3 },
            epoch: value,
            loss: Some(value),
            learning_rate: Some(value),
            grad_norm: (at < 2).then_some(value),
            tokens_per_second: None,
            seconds: None,
            metrics: [("m".to_owned(), value)].into(),
        })
        .collect();
    for length in 0..=entries.len() {
        let page = page(&entries[..length]);
        text_of(&page);
        for coordinate in ["x=\"", "y=\"", "d=\"", "points=\""] {
            for rest in page.split(coordinate).skip(1) {
                let value = rest.split('"').next().unwrap();
                assert!(!value.contains("NaN") && !value.contains("inf"), "{coordinate}{value}");
            }
        }
    }
    assert!(page(&entries).contains("4 of 7 values are NaN or infinite"));
    assert!(text_of(&page(&[])).contains("The log is empty"));
}

#[test]
fn many_steps_make_a_page_that_can_be_opened() {
    let entry = |step: u64| LogEntry { step, loss: Some((step % 97) as f64), ..LogEntry::default() };
    let entries: Vec<LogEntry> = (0..100_000).map(entry).collect();
    let page = page(&entries);
    assert!(page.len() < 300_000, "{} bytes", page.len());
    assert!(text_of(&page).contains("lowest and highest of each stretch"));
}

#[test]
fn the_log_is_that_of_transformers() {
    let text = r#"[{"epoch": 0.5, "grad_norm": null, "learning_rate": 2e-05, "loss": 1.25, "step": 10},
        {"epoch": 1.0, "eval_loss": null, "eval_dev_cosine_ndcg@10": 0.5, "step": 20}]"#;
    let entries: Vec<LogEntry> = serde_json::from_str(text).unwrap();
    assert_eq!(
        (entries[0].loss, entries[0].grad_norm, entries[0].learning_rate),
        (Some(1.25), None, Some(2e-5))
    );
    assert!(entries[0].metrics.is_empty());
    assert_eq!(entries[1].metrics["eval_dev_cosine_ndcg@10"], 0.5);
    assert!(entries[1].metrics["eval_loss"].is_nan());
    let written = serde_json::to_string(&log()).unwrap();
    assert_eq!(serde_json::from_str::<Vec<LogEntry>>(&written).unwrap(), log());
    assert!(written.starts_with(
        r#"[{"step":10,"epoch":0.25,"loss":2.0,"learning_rate":0.000018,"grad_norm":9.0,"tokens_per_second":1010.0},"#
    ));
}
