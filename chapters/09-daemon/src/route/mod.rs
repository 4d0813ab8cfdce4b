//! The routes: one table, which is also the golden file of the API that is served.
//!
//! A path is as the API's description writes it. A name in the middle of a path may contain slashes
//! where images are meant; there the routes below `/images/` and `/distribution/` are told apart by how
//! they end.

mod containers;
mod exec;
mod images;
mod networks;
mod streams;
mod system;
mod volumes;

pub use system::NO_SWARM;

use std::pin::Pin;

use axum::Router;
use axum::http::Method;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};

use crate::call::Call;
use crate::failure::{Failure, Outcome};
use crate::server::Daemon;

type Answer = Pin<Box<dyn Future<Output = Outcome<Response>> + Send>>;

// ANCHOR: table
/// One operation of the API.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET` …
    pub method: &'static str,
    /// With names in braces.
    pub path: &'static str,
    handler: fn(Call) -> Answer,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

macro_rules! table {
    ($($method:ident $path:literal => $handler:path,)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            handler: |call| Box::pin($handler(call)),
        },)*]
    };
}

/// All of them.
pub const ROUTES: &[Route] = table! {
    GET "/_ping" => system::ping,
    HEAD "/_ping" => system::ping,
    GET "/info" => system::info,
    GET "/version" => system::version,
    GET "/events" => system::events,
    GET "/system/df" => system::disk_usage,
    POST "/auth" => system::auth,
    GET "/metrics" => crate::metrics::metrics,

    GET "/containers/json" => containers::list,
    POST "/containers/create" => containers::create,
    POST "/containers/prune" => containers::prune,
    // ANCHOR_END: table
    GET "/containers/{name}/json" => containers::inspect,
    GET "/containers/{name}/top" => containers::top,
    GET "/containers/{name}/logs" => streams::logs,
    GET "/containers/{name}/changes" => containers::changes,
    GET "/containers/{name}/export" => containers::export,
    GET "/containers/{name}/stats" => streams::stats,
    GET "/containers/{name}/attach/ws" => streams::attach_ws,
    GET "/containers/{name}/archive" => containers::read_archive,
    HEAD "/containers/{name}/archive" => containers::stat_archive,
    PUT "/containers/{name}/archive" => containers::write_archive,
    POST "/containers/{name}/resize" => containers::resize,
    POST "/containers/{name}/start" => containers::start,
    POST "/containers/{name}/stop" => containers::stop,
    POST "/containers/{name}/restart" => containers::restart,
    POST "/containers/{name}/kill" => containers::kill,
    POST "/containers/{name}/update" => containers::update,
    POST "/containers/{name}/rename" => containers::rename,
    POST "/containers/{name}/pause" => containers::pause,
    POST "/containers/{name}/unpause" => containers::unpause,
    POST "/containers/{name}/attach" => streams::attach,
    POST "/containers/{name}/wait" => streams::wait,
    POST "/containers/{name}/exec" => exec::create,
    DELETE "/containers/{name}" => containers::remove,
    DELETE "/containers/{name}/{alias}" => containers::unlink,
    GET "/containers/{name}/checkpoints" => system::no_checkpoints,
    POST "/containers/{name}/checkpoints" => system::no_checkpoints,
    DELETE "/containers/{name}/checkpoints/{alias}" => system::no_checkpoints,

    POST "/exec/{name}/start" => exec::start,
    POST "/exec/{name}/resize" => exec::resize,
    GET "/exec/{name}/json" => exec::inspect,

    GET "/images/json" => images::list,
    POST "/images/create" => images::create,
    POST "/images/load" => images::load,
    POST "/images/prune" => images::prune,
    GET "/images/search" => images::search,
    GET "/images/get" => images::save_many,
    GET "/images/{name}/json" => images::inspect,
    GET "/images/{name}/history" => images::history,
    GET "/images/{name}/get" => images::save,
    POST "/images/{name}/push" => images::push,
    POST "/images/{name}/tag" => images::tag,
    DELETE "/images/{name}" => images::remove,
    GET "/distribution/{name}/json" => images::distribution,
    POST "/commit" => images::commit,
    POST "/build" => images::build,
    POST "/build/prune" => images::prune_builds,

    GET "/networks" => networks::list,
    GET "/networks/" => networks::list,
    POST "/networks/create" => networks::create,
    POST "/networks/prune" => networks::prune,
    GET "/networks/{name}" => networks::inspect,
    DELETE "/networks/{name}" => networks::remove,
    POST "/networks/{name}/connect" => networks::connect,
    POST "/networks/{name}/disconnect" => networks::disconnect,

    GET "/volumes" => volumes::list,
    POST "/volumes/create" => volumes::create,
    POST "/volumes/prune" => volumes::prune,
    GET "/volumes/{name}" => volumes::inspect,
    PUT "/volumes/{name}" => volumes::no_cluster,
    DELETE "/volumes/{name}" => volumes::remove,

    GET "/swarm" => system::no_swarm,
    POST "/swarm/init" => system::no_swarm_here,
    POST "/swarm/join" => system::no_swarm_here,
    POST "/swarm/leave" => system::not_in_a_swarm,
    POST "/swarm/update" => system::no_swarm,
    GET "/swarm/unlockkey" => system::no_swarm,
    POST "/swarm/unlock" => system::no_swarm,
    GET "/nodes" => system::no_swarm,
    GET "/nodes/{name}" => system::no_swarm,
    DELETE "/nodes/{name}" => system::no_swarm,
    POST "/nodes/{name}/update" => system::no_swarm,
    GET "/services" => system::no_swarm,
    POST "/services/create" => system::no_swarm,
    GET "/services/{name}" => system::no_swarm,
    DELETE "/services/{name}" => system::no_swarm,
    POST "/services/{name}/update" => system::no_swarm,
    GET "/services/{name}/logs" => system::no_swarm,
    GET "/tasks" => system::no_swarm,
    GET "/tasks/{name}" => system::no_swarm,
    GET "/tasks/{name}/logs" => system::no_swarm,
    GET "/secrets" => system::no_swarm,
    POST "/secrets/create" => system::no_swarm,
    GET "/secrets/{name}" => system::no_swarm,
    DELETE "/secrets/{name}" => system::no_swarm,
    POST "/secrets/{name}/update" => system::no_swarm,
    GET "/configs" => system::no_swarm,
    POST "/configs/create" => system::no_swarm,
    GET "/configs/{name}" => system::no_swarm,
    DELETE "/configs/{name}" => system::no_swarm,
    POST "/configs/{name}/update" => system::no_swarm,
    GET "/plugins" => system::no_plugins,
    GET "/plugins/{name}/json" => system::no_plugin,
    DELETE "/plugins/{name}" => system::no_plugin,
    POST "/plugins/{name}/enable" => system::no_plugin,
    POST "/plugins/{name}/disable" => system::no_plugin,
    POST "/plugins/{name}/push" => system::no_plugin,
    POST "/plugins/{name}/set" => system::no_plugin,
    POST "/plugins/{name}/upgrade" => system::no_plugin,
};

/// Groups in which a name may contain slashes.
const WITH_SLASHES: [&str; 3] = ["/images/", "/distribution/", "/plugins/"];

/// The router over the table.
pub fn router(daemon: Daemon) -> Router {
    let mut router: Router<Daemon> = Router::new();
    for route in ROUTES {
        if !has_slashes(route) {
            router = router.route(route.path, method(route, route.handler));
        }
    }
    for group in WITH_SLASHES {
        let path = format!("{group}{{*rest}}");
        router = router.route(&path, axum::routing::any(ending));
    }
    router
        .fallback(missing)
        // dockerd's router does not tell the two apart.
        .method_not_allowed_fallback(missing)
        .with_state(daemon)
}

fn method(route: &Route, handler: fn(Call) -> Answer) -> MethodRouter<Daemon> {
    let filter = match route.method {
        "GET" => MethodFilter::GET,
        "HEAD" => MethodFilter::HEAD,
        "PUT" => MethodFilter::PUT,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::POST,
    };
    on(filter, move |call: Call| handler(call))
}

fn has_slashes(route: &Route) -> bool {
    WITH_SLASHES.iter().any(|group| route.path.starts_with(&format!("{group}{{")))
}

/// A route whose name may contain slashes: the end of the path decides.
async fn ending(mut call: Call) -> Outcome<Response> {
    let rest = call.name("rest");
    let path = call.request.uri().path().to_owned();
    for route in ROUTES.iter().filter(|route| has_slashes(route)) {
        let Some((group, end)) = route.path.split_once("{name}") else { continue };
        if !path.starts_with(group) || call.request.method() != method_of(route) {
            continue;
        }
        if let Some(name) = rest.strip_suffix(end)
            && !name.is_empty()
        {
            call.set_name(name);
            return (route.handler)(call).await;
        }
    }
    missing().await
}

fn method_of(route: &Route) -> Method {
    Method::from_bytes(route.method.as_bytes()).unwrap_or_default()
}

async fn missing() -> Outcome<Response> {
    Err(Failure::missing("page not found"))
}
