use serde_json::{Value, json};

use super::Template;

fn value() -> Value {
    json!({
        "Names": "web", "Id": "0123456789abcdef", "Size": 12_345_678, "Half": 1.5, "Labels": "a=b,c=d",
        "Mounts": [{"Source": "/a"}, {"Source": "/b"}], "Args": ["a", "b"], "None": null,
        "Config": {"Labels": {"a.b": "c", "x": "y"}, "Cmd": null},
        "State": {"Running": true, "Health": null},
        "Ports": {"80/tcp": [{"HostPort": "8080"}], "53/udp": null},
    })
}

fn rendered(template: &str) -> String {
    Template::parse(template).unwrap().render(&value()).unwrap()
}

/// Each was given to Go's text/template (1.19) with docker's functions, and made this.
#[test]
fn templates_are_go_s() {
    for (template, expected) in [
        ("{{.Names}}", "web"),
        ("a\\t{{.Names}}\\n", "a\tweb\n"),
        ("{{range .Mounts}}{{.Source}} {{end}}", "/a /b "),
        ("{{index .Config.Labels \"a.b\"}}", "c"),
        ("{{.Config.Labels.none}}|{{index .Config.Labels \"none\"}}", "<no value>|"),
        ("{{.State.Running}}", "true"),
        ("{{if .State.Health}}y{{else if .State.Running}}r{{else}}n{{end}}", "r"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}},{{end}}", "a.b=c,x=y,"),
        ("{{len .Mounts}} {{len .Names}}", "2 3"),
        ("{{printf \"%.12s\" .Id}}", "0123456789ab"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("a {{- .Names -}} b", "awebb"),
        ("{{/* no \"}} */}}x{{- /* y */ -}} z", "xz"),
        ("{{.Names | upper | printf \"%s-%s\" \"x\"}}", "x-WEB"),
        ("{{if eq .Names \"db\" \"web\"}}yes{{end}}", "yes"),
        ("{{.Size}} {{.Half}}", "12345678 1.5"),
        ("{{.Config.Labels}} {{.Args}} {{.None}}", "map[a.b:c x:y] [a b] <nil>"),
        ("{{json .Config.Labels}}", r#"{"a.b":"c","x":"y"}"#),
        ("{{with .State}}{{.Running}}{{$.Names}}{{end}}", "trueweb"),
        ("{{with .None}}{{else}}none{{end}}", "none"),
        ("{{println .Names}}", "web\n"),
        ("{{range $i, $e := .Args}}{{if $i}}, {{end}}{{$e}}{{end}}", "a, b"),
        (
            "{{printf \"%-5s|%5d|%05d|%t|%v|%q|%%\" .Names 12 12 true .Args .Names}}",
            "web  |   12|00012|true|[a b]|\"web\"|%",
        ),
        ("{{not .State.Running}} {{and true .Names}} {{or .State.Health .Names}}", "false web web"),
        ("{{slice .Id 0 4}} {{truncate .Id 3}}", "0123 012"),
        ("{{$x := .Names}}{{$x = \"db\"}}{{$x}}", "db"),
        ("{{join .Args \",\"}} {{split \"a/b\" \"/\"}} {{title \"ab cd\"}}", "a,b [a b] Ab Cd"),
        ("{{.Label \"c\"}}|{{.Label \"z\"}}", "d|"),
        ("{{range .Args}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{`raw \"x\"`}} {{\"q\\\"\"}}", "raw \"x\" q\""),
        ("{{if lt 1 2}}lt{{end}}{{if ge 2 2}}ge{{end}}", "ltge"),
        ("{{range $p, $b := .Ports}}{{$p}} {{end}}", "53/udp 80/tcp "),
    ] {
        assert_eq!(rendered(template), expected, "{template}");
    }
}

/// JSON does not say whether null is a list that is empty: Go would refuse to range over another nil.
#[test]
fn null_may_be_an_empty_list() {
    assert_eq!(rendered("{{range .None}}x{{else}}none{{end}}"), "none");
}

#[test]
fn what_is_wrong_is_said() {
    let why = |template: &str| {
        let made = Template::parse(template).and_then(|template| template.render(&value()));
        made.unwrap_err().to_string()
    };
    for (template, expected) in [
        ("{{.Names}", "unexpected '}' in an action"),
        ("{{.Names", "not closed by }}"),
        ("{{if .Names}}", "an {{end}} is missing"),
        ("{{end}}", "{{end}} without"),
        ("{{else}}", "{{else}} without"),
        ("{{.names}}", "no entry for key \"names\", but .Names"),
        ("{{.Nope}}", "no entry for key \"Nope\"; there are .Args .Config"),
        ("{{.Names.x}}", "can't evaluate field x in web"),
        ("{{nope .Names}}", "function \"nope\" not defined"),
        ("{{index .Args 7}}", "out of range"),
        ("{{\"x}}", "a string is not closed"),
        ("{{(len .Args}}", "( is not closed"),
        ("{{len .Args)}}", ") without ("),
        ("{{template \"x\"}}", "not supported"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{.Names | }}", "a command is missing"),
        ("{{.Names \"x\"}}", "only functions take them"),
        ("{{range .Names}}{{end}}", "can't iterate over web"),
        ("{{break}}", "function \"break\""),
    ] {
        let why = why(template);
        assert!(why.contains(expected) && why.contains("--format"), "{template}: {why}");
    }
}

proptest::proptest! {
    /// Whatever is written, it is a template or a mistake.
    #[test]
    fn nothing_panics(text in r#"(\{\{[-. $a-z"|(),:=0-9`/*]{0,12}-?\}\}| |a){0,6}"#) {
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&value());
        }
    }
}
