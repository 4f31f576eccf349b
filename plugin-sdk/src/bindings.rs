//! The bindings generated from `wit/`: one world with every import, and one tiny world per exported interface.
//! A world per phase is what keeps a phase out of a component that does not name it: the exports of a world come as a
//! whole, those of several worlds are merged by the linker.

/// All imports. The linker drops those that a plugin never calls.
pub mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package postern:sdk; world all-imports { include postern:plugin/imports@0.1.0; }",
        world: "postern:sdk/all-imports",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

/// `configure`, which every plugin exports.
pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package postern:sdk; world lifecycle-export { export postern:plugin/lifecycle@0.1.0; }",
        world: "postern:sdk/lifecycle-export",
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "postern_plugin::__private::lifecycle",
    });
    pub use exports::postern::plugin::lifecycle::{Guest, HeaderSelection, Interest, Phases};
}

// One module per phase; the names are those of `export!`.
macro_rules! phase {
    ($module:ident, $interface:ident, $world:literal, $inline:literal, $macro_name:literal $(, $type:ident)?) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $inline,
                world: $world,
                with: { "postern:plugin/types@0.1.0": crate::bindings::imports::postern::plugin::types },
                pub_export_macro: true,
                export_macro_name: $macro_name,
                default_bindings_module: "postern_plugin",
            });
            pub use exports::postern::plugin::$interface::Guest;
            $(pub use exports::postern::plugin::$interface::$type;)?
        }
    };
}

phase!(
    request,
    request_phase,
    "postern:sdk/request-export",
    "package postern:sdk; world request-export { export postern:plugin/request-phase@0.1.0; }",
    "export_request"
);
phase!(
    request_body,
    request_body_phase,
    "postern:sdk/request-body-export",
    "package postern:sdk; world request-body-export { export postern:plugin/request-body-phase@0.1.0; }",
    "export_request_body"
);
phase!(
    response,
    response_phase,
    "postern:sdk/response-export",
    "package postern:sdk; world response-export { export postern:plugin/response-phase@0.1.0; }",
    "export_response"
);
phase!(
    response_body,
    response_body_phase,
    "postern:sdk/response-body-export",
    "package postern:sdk; world response-body-export { export postern:plugin/response-body-phase@0.1.0; }",
    "export_response_body"
);
phase!(
    request_stream,
    request_stream_phase,
    "postern:sdk/request-stream-export",
    "package postern:sdk; world request-stream-export { export postern:plugin/request-stream-phase@0.1.0; }",
    "export_request_stream",
    RequestStreamVerdict
);
phase!(
    response_stream,
    response_stream_phase,
    "postern:sdk/response-stream-export",
    "package postern:sdk; world response-stream-export { export postern:plugin/response-stream-phase@0.1.0; }",
    "export_response_stream",
    ResponseStreamVerdict
);
phase!(
    responder,
    responder,
    "postern:sdk/responder-export",
    "package postern:sdk; world responder-export { export postern:plugin/responder@0.1.0; }",
    "export_responder"
);
