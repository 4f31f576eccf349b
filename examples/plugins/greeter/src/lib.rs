//! Greets everybody: the smallest plugin that does something. It stands outside `plugins/` and knows only the SDK, as
//! yours would.

use postern_plugin::{
    NoConfig, Plugin, ResponseEdits, ResponseHead, ResponsePhase, ResponseVerdict,
};

/// What everybody is told. `cargo xtask demo --check` replaces it in a copy of this file and loads that while running.
const GREETING: &str = "hello";

struct Greeter;

impl Plugin for Greeter {
    type Config = NoConfig;

    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(Greeter)
    }
}

impl ResponsePhase for Greeter {
    fn on_response(&self, _: ResponseHead) -> ResponseVerdict {
        ResponseEdits::new().set("x-greeting", GREETING).into()
    }
}

postern_plugin::export!(Greeter: response);

#[cfg(test)]
mod tests {
    use super::*;
    use postern_plugin::HeaderEdit;
    use postern_plugin::testing::{Host, configure};

    #[test]
    fn every_answer_is_greeted() {
        let host = Host::new();
        let plugin: Greeter = configure("{}").expect("there is nothing to configure");
        let verdict = plugin.on_response(host.response_head(&plugin.interest(), 404, &[]));
        let edits = verdict.edits().expect("the answer is changed");
        assert_eq!(edits.headers, [HeaderEdit::set("x-greeting", "hello")]);
    }
}
