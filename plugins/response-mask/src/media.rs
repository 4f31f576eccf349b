//! What kind of text a body is, by its content type.

/// The kinds that can be masked, each in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Text,
    Other,
}

/// The kind of a `Content-Type`.
pub(crate) fn kind(content_type: &str) -> Kind {
    let essence = content_type.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    let is_json = essence.ends_with("+json")
        || matches!(
            essence.as_str(),
            "application/json" | "text/json" | "application/x-ndjson" | "application/jsonl"
        );
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/xml" | "application/javascript" | "application/x-www-form-urlencoded"
        );
    match (is_json, is_text) {
        (true, _) => Kind::Json,
        (_, true) => Kind::Text,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind};

    #[test]
    fn json_is_told_from_other_text() {
        for (content_type, expected) in [
            ("application/json", Kind::Json),
            ("Application/JSON; charset=utf-8", Kind::Json),
            ("application/problem+json", Kind::Json),
            ("application/x-ndjson", Kind::Json),
            ("text/html", Kind::Text),
            ("text/event-stream", Kind::Text),
            ("image/svg+xml", Kind::Text),
            ("image/png", Kind::Other),
            ("application/jsonx", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind(content_type), expected, "{content_type:?}");
        }
    }
}
