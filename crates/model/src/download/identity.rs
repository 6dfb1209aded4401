//! What the user's word for a model means: a directory on this machine or the id of a repository. It asks no one but the
//! file system.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What the user has named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// An existing directory.
    Directory(PathBuf),
    /// `ORG/NAME`, or `NAME` for the few repositories without an organization.
    Id(String),
}

/// The organization of names without one (`default_huggingface_organization` of SentenceTransformer).
const DEFAULT_ORGANIZATION: &str = "sentence-transformers";

/// Names that have no organization on the hub and therefore get none (`ORIGINAL_TRANSFORMER_MODELS` in
/// sentence_transformers/util/misc.py).
#[rustfmt::skip]
const WITHOUT_ORGANIZATION: &[&str] = &[
    "albert-base-v1", "albert-base-v2", "albert-large-v1", "albert-large-v2", "albert-xlarge-v1", "albert-xlarge-v2",
    "albert-xxlarge-v1", "albert-xxlarge-v2", "bert-base-cased", "bert-base-cased-finetuned-mrpc", "bert-base-chinese",
    "bert-base-german-cased", "bert-base-german-dbmdz-cased", "bert-base-german-dbmdz-uncased",
    "bert-base-multilingual-cased", "bert-base-multilingual-uncased", "bert-base-uncased", "bert-large-cased",
    "bert-large-cased-whole-word-masking", "bert-large-cased-whole-word-masking-finetuned-squad", "bert-large-uncased",
    "bert-large-uncased-whole-word-masking", "bert-large-uncased-whole-word-masking-finetuned-squad", "camembert-base",
    "ctrl", "distilbert-base-cased", "distilbert-base-cased-distilled-squad", "distilbert-base-german-cased",
    "distilbert-base-multilingual-cased", "distilbert-base-uncased", "distilbert-base-uncased-distilled-squad",
    "distilbert-base-uncased-finetuned-sst-2-english", "distilgpt2", "distilroberta-base", "gpt2", "gpt2-large",
    "gpt2-medium", "gpt2-xl", "openai-gpt", "roberta-base", "roberta-base-openai-detector", "roberta-large",
    "roberta-large-mnli", "roberta-large-openai-detector", "t5-11b", "t5-3b", "t5-base", "t5-large", "t5-small",
    "transfo-xl-wt103", "xlm-clm-ende-1024", "xlm-clm-enfr-1024", "xlm-mlm-100-1280", "xlm-mlm-17-1280",
    "xlm-mlm-en-2048", "xlm-mlm-ende-1024", "xlm-mlm-enfr-1024", "xlm-mlm-enro-1024", "xlm-mlm-tlm-xnli15-1024",
    "xlm-mlm-xnli15-1024", "xlm-roberta-base", "xlm-roberta-large", "xlm-roberta-large-finetuned-conll02-dutch",
    "xlm-roberta-large-finetuned-conll02-spanish", "xlm-roberta-large-finetuned-conll03-english",
    "xlm-roberta-large-finetuned-conll03-german", "xlnet-base-cased", "xlnet-large-cased",
];

/// Decides as `BaseModel.__init__` of sentence-transformers does: an existing directory wins, what can only be a path
/// must exist, anything else is an id. `home` stands for a leading `~`.
pub(super) fn parse(text: &str, home: Option<&Path>) -> Result<Named> {
    if text.trim().is_empty() {
        return Err(Error::Argument(
            "the name of the model is empty: give a directory or an id such as sentence-transformers/all-MiniLM-L6-v2"
                .to_owned(),
        ));
    }
    let mut path = PathBuf::from(text);
    if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), home) {
        path = home.join(rest);
    }
    if path.is_dir() {
        return Ok(Named::Directory(path));
    }
    if path.exists() {
        return Err(Error::invalid(
            &path,
            "this is a file; give the directory of the model, or the id of a repository",
        ));
    }
    let starts = ["./", "../", "~", "/"].iter().any(|start| text.starts_with(start));
    if starts
        || text == "."
        || text == ".."
        || text.contains('\\')
        || path.is_absolute()
        || text.matches('/').count() > 1
    {
        return Err(Error::invalid(
            &path,
            "there is no such directory; check the path (the id of a repository has the form ORG/NAME)",
        ));
    }
    if let Err(reason) = check_id(text) {
        let message =
            format!("there is no such directory, and it cannot be the id of a repository: {reason}");
        return Err(Error::Hub { id: text.to_owned(), message });
    }
    let bare = !text.contains('/') && !WITHOUT_ORGANIZATION.contains(&text.to_lowercase().as_str());
    Ok(Named::Id(if bare { format!("{DEFAULT_ORGANIZATION}/{text}") } else { text.to_owned() }))
}

/// The rules of `validate_repo_id` in huggingface_hub/utils/_validators.py.
fn check_id(id: &str) -> Result<(), &'static str> {
    for part in id.split('/') {
        if part.is_empty() || part.len() > 96 {
            return Err("each part has 1 to 96 characters");
        }
        if !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err("only letters, digits, '-', '_' and '.' are allowed");
        }
        if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
            return Err("no part begins or ends with '-' or '.'");
        }
    }
    if id.contains("--") || id.contains("..") {
        return Err("\"--\" and \"..\" are not allowed");
    }
    if id.ends_with(".git") {
        return Err("it ends with \".git\"");
    }
    Ok(())
}

/// The rules of git for names of branches and tags, as far as a wrong one could leave the cache.
pub(super) fn check_revision(revision: &str) -> Result<()> {
    let part_fails = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('.');
    let fails = |character: char| {
        character.is_control() || character.is_whitespace() || "\\:?*[~^\"<>|".contains(character)
    };
    if revision.split('/').any(part_fails)
        || revision.contains(fails)
        || revision.contains("..")
        || revision.len() > 255
    {
        return Err(Error::Argument(format!(
            "{revision:?} cannot be a revision: give a branch, a tag or a commit"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> String {
        match parse(text, None).unwrap() {
            Named::Id(id) => id,
            Named::Directory(path) => panic!("{text} is the directory {}", path.display()),
        }
    }

    #[test]
    fn bare_names_belong_to_sentence_transformers_except_the_old_ones() {
        assert_eq!(id("all-MiniLM-L6-v2"), "sentence-transformers/all-MiniLM-L6-v2");
        assert_eq!(id("bert-base-uncased"), "bert-base-uncased");
        assert_eq!(id("BERT-base-uncased"), "BERT-base-uncased");
        assert_eq!(id("intfloat/multilingual-e5-base"), "intfloat/multilingual-e5-base");
        assert_eq!(WITHOUT_ORGANIZATION.len(), 68);
    }

    #[test]
    fn paths_that_do_not_exist_are_said_to_be_paths() {
        for text in
            ["./absent", "../absent/", "~/absent", "/absent", "a/b/c", r"a\b", r"C:\absent", "~absent"]
        {
            let message = parse(text, None).unwrap_err().to_string();
            assert!(message.contains("no such directory"), "{text}: {message}");
        }
    }

    #[test]
    fn what_cannot_be_an_id_is_refused() {
        for text in
            ["", " ", "a/", "org/na me", "org/a--b", "a..b", "-a/b", "a/b.", "org/b.git", "org/ü", "a?b"]
        {
            assert!(parse(text, None).is_err(), "{text:?}");
        }
        assert!(parse(&"a".repeat(97), None).is_err());
    }

    #[test]
    fn a_file_is_not_a_model_and_an_existing_directory_wins() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("model.safetensors");
        std::fs::write(&file, "x").unwrap();
        assert!(parse(file.to_str().unwrap(), None).unwrap_err().to_string().contains("this is a file"));
        let text = directory.path().to_str().unwrap();
        assert_eq!(parse(text, None).unwrap(), Named::Directory(directory.path().to_owned()));
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        let inner = parse("~/inner", Some(directory.path())).unwrap();
        assert_eq!(inner, Named::Directory(directory.path().join("inner")));
    }

    #[test]
    fn revisions_cannot_leave_the_cache() {
        for revision in
            ["main", "v1.0", "refs/pr/7", "feature/x_y-z", "0123456789abcdef0123456789abcdef01234567"]
        {
            check_revision(revision).unwrap();
        }
        for revision in ["", "..", "../x", "a/../b", "/a", "a/", r"a\b", "a b", ".hidden", "C:x", "a\0b"] {
            assert!(check_revision(revision).is_err(), "{revision:?}");
        }
    }
}
