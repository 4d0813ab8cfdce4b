//! The attributes `#[t1]`, `#[t2]` and `#[boots_vm]`; `corten-tier` documents and re-exports them.
#![deny(unsafe_code)]

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// T1: needs root, runs on this machine in a mount namespace of its own.
#[proc_macro_attribute]
pub fn t1(_options: TokenStream, function: TokenStream) -> TokenStream {
    tiered("t1", "T1: needs root; ./x test runs it", "enter_t1", function)
}

/// T2: runs inside the lab VM. `#[t2(v1)]` asks for a VM with cgroup v1 mounts.
#[proc_macro_attribute]
pub fn t2(options: TokenStream, function: TokenStream) -> TokenStream {
    match options.to_string().as_str() {
        "" => tiered("t2", "T2: runs in the lab VM; ./x test runs it", "enter_t2", function),
        "v1" => tiered(
            "t2_v1",
            "T2: runs in the lab VM with cgroup v1; ./x test runs it",
            "enter_t2",
            function,
        ),
        other => format!("compile_error!(\"#[t2] takes nothing or `v1`, not `{other}`\");")
            .parse()
            .expect("a string literal is valid Rust"),
    }
}

/// T2 from the outside: the test itself boots VMs with `corten_vm`, so it runs on the host.
#[proc_macro_attribute]
pub fn boots_vm(_options: TokenStream, function: TokenStream) -> TokenStream {
    tiered("boots_vm", "T2: boots VMs of its own; ./x test runs it", "enter_boots_vm", function)
}

/// Wraps `fn name() { body }` as `mod name { #[test] #[ignore = reason] fn tier() { enter(); body } }`,
/// so that the tier is the last segment of the test's path, for the runner to select by.
fn tiered(tier: &str, reason: &str, enter: &str, function: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = function.into_iter().collect();
    let keyword = tokens.iter().position(|t| t.to_string() == "fn");
    let name = keyword.and_then(|at| tokens.get(at + 1)).map(ToString::to_string);
    let (Some(keyword), Some(name), Some(TokenTree::Group(body))) =
        (keyword, name, tokens.last().cloned())
    else {
        return "compile_error!(\"a test tier stands on a function\");"
            .parse()
            .expect("valid Rust");
    };
    let entered: TokenStream = format!("::corten_tier::{enter}();").parse().expect("valid Rust");
    let mut statements = entered;
    statements.extend(body.stream());
    let last = tokens.len() - 1;
    tokens[last] = TokenTree::Group(Group::new(Delimiter::Brace, statements));
    let tier_name: TokenStream = tier.parse().expect("valid Rust");
    tokens.splice(keyword + 1..keyword + 2, tier_name);

    let mut inner: TokenStream =
        format!("#[allow(unused_imports)] use super::*; #[test] #[ignore = \"{reason}\"]")
            .parse()
            .expect("valid Rust");
    inner.extend(tokens);
    let mut module: TokenStream = format!("mod {name}").parse().expect("valid Rust");
    module.extend([TokenTree::Group(Group::new(Delimiter::Brace, inner))]);
    module
}
