use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn manifest(config: &str, layer: &str, extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"{config}","digest":"{D}","size":0}},
        "layers":[{{"mediaType":"{layer}","digest":"{D}","size":0}}]}}"#
    )
}

fn index(platforms: &[&str]) -> String {
    let entries: Vec<String> = platforms
        .iter()
        .map(|p| {
            let platform = p.split_once('/').map_or(String::new(), |(os, arch)| {
                format!(r#","platform":{{"os":"{os}","architecture":"{arch}"}}"#)
            });
            format!(r#"{{"mediaType":"{MANIFEST}","digest":"{D}","size":1{platform}}}"#)
        })
        .collect();
    format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","))
}

fn parse(declared: &str, text: &str) -> Result<Document> {
    Document::parse("x", &MediaType::parse(declared), text.as_bytes().to_vec())
}

#[test]
fn oci_and_docker_manifests_are_one_type() {
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let extra = format!(r#""mediaType":"{docker}","#);
    let text = manifest(
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        &extra,
    );
    for (declared, text) in [(MANIFEST, manifest(CONFIG, LAYER, "")), (docker, text)] {
        let Document::Manifest(manifest) = parse(declared, &text).unwrap() else { panic!() };
        assert_eq!(manifest.raw(), text.as_bytes());
        assert_eq!(manifest.descriptor().digest, Digest::sha256(text.as_bytes()));
        assert_eq!(manifest.layers.len(), 1);
    }
}

#[test]
fn what_is_not_an_image_is_refused_with_the_reason() {
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let both = r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#;
    for (declared, text, why) in [
        (MANIFEST, "{", "not a manifest"),
        (MANIFEST, "[]", "not a manifest"),
        (MANIFEST, "{}", "not an image manifest"),
        (INDEX, "{}", "not an image index"),
        ("text/html", "{}", "neither an image manifest nor an index"),
        (MANIFEST, both, "both layers and manifests"),
        (MANIFEST, r#"{"schemaVersion":1}"#, "schema 1"),
        (MANIFEST, &manifest(CONFIG, foreign, ""), "only from its maker's own server"),
        (MANIFEST, &manifest(CONFIG, "text/plain", ""), "unknown media type text/plain"),
        (MANIFEST, &manifest("application/vnd.cncf.helm.config.v1+json", LAYER, ""), "an artifact"),
        (MANIFEST, &manifest(CONFIG, LAYER, "").replace(D, "sha256:../../x"), ""),
    ] {
        let error = parse(declared, text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

/// CVE-2021-41190: one document, two meanings.
#[test]
fn a_document_that_calls_itself_something_else_is_refused() {
    let text = manifest(CONFIG, LAYER, &format!(r#""mediaType":"{INDEX}","#));
    let error = parse(MANIFEST, &text).unwrap_err().to_string();
    assert!(error.contains("but calls itself"), "{error}");
}

#[test]
fn an_index_gives_the_manifest_of_the_platform_and_passes_over_attestations() {
    let choose = |platforms: &[&str], wanted: &str| {
        let Document::Index(index) = parse(INDEX, &index(platforms)).unwrap() else { panic!() };
        let chosen = index.choose("x", &wanted.parse().unwrap()).cloned();
        chosen.map(|d| d.platform.map(|p| p.to_string()).unwrap_or_default())
    };
    let all = ["unknown/unknown", "linux/arm64", "linux/amd64"];
    assert_eq!(choose(&all, "linux/amd64").unwrap(), "linux/amd64");
    assert_eq!(choose(&["only"], "linux/amd64").unwrap(), "");
    let error = choose(&all, "linux/s390x").unwrap_err().to_string();
    assert_eq!(error, "x: no image for platform linux/s390x; there is: linux/arm64, linux/amd64");
}

#[test]
fn a_configuration_keeps_the_fields_that_only_docker_knows() {
    let text = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":["A=b"],"Cmd":["sh"],"OnBuild":null,
        "Healthcheck":{{"Test":["CMD","x"]}},"Volumes":null,"Entrypoint":null,"Labels":null}},
        "container":"1","docker_version":"20","history":[{{"created":"2020-01-01T00:00:00Z"}}],
        "rootfs":{{"type":"layers","diff_ids":["{D}"]}}}}"#
    );
    let config = ImageConfig::parse("x", text.clone().into_bytes()).unwrap();
    assert_eq!(config.raw(), text.as_bytes());
    assert_eq!(config.diff_ids().len(), 1);
    assert_eq!(config.platform().to_string(), "linux/amd64");
    let run = config.spec().config().clone().unwrap();
    assert_eq!(run.env().as_deref().unwrap(), ["A=b"]);
    assert!(ImageConfig::parse("x", text.replace(D, "sha256:..").into_bytes()).is_err());
}
