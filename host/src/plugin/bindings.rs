//! Rust types of the WIT interface, and nothing else.
#![allow(missing_docs, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package postern:host;
        world host {
            include postern:plugin/imports@0.1.0;
            export postern:plugin/lifecycle@0.1.0;
            export postern:plugin/request-phase@0.1.0;
            export postern:plugin/request-body-phase@0.1.0;
            export postern:plugin/response-phase@0.1.0;
            export postern:plugin/response-body-phase@0.1.0;
            export postern:plugin/request-stream-phase@0.1.0;
            export postern:plugin/response-stream-phase@0.1.0;
            export postern:plugin/responder@0.1.0;
        }
    ",
    world: "postern:host/host",
    imports: { "postern:plugin/outbound": async | trappable, default: trappable },
    ownership: Borrowing { duplicate_if_necessary: true },
});
