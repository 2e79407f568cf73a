//! The files of the page. They are part of the program: nothing is fetched from anywhere else.

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its name; the page itself has none.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// What a browser may do with the page: run and load its own files, ask the server it is from, and nothing else. No
/// script in the text, no style, no form, no frame around it.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal, $content_type:ident, $file:literal;)*) => {
        &[$(Asset {
            name: $name,
            content_type: $content_type,
            text: include_str!(concat!("assets/", $file)),
        }),*]
    };
}

const ASSETS: &[Asset] = assets![
    "", HTML, "page.html";
    "page.css", CSS, "page.css";
    "graphs.css", CSS, "graphs.css";
    "tables.css", CSS, "tables.css";
    "report.css", CSS, "report.css";
    "icon.svg", SVG, "icon.svg";
    "main.js", SCRIPT, "main.js";
    "dom.js", SCRIPT, "dom.js";
    "format.js", SCRIPT, "format.js";
    "timeline.js", SCRIPT, "timeline.js";
    "flame.js", SCRIPT, "flame.js";
    "sites.js", SCRIPT, "sites.js";
    "suspects.js", SCRIPT, "suspects.js";
    "knowledge.js", SCRIPT, "knowledge.js";
];

/// The file of this name.
#[must_use]
pub fn asset(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_is_named_is_there() {
        let names = |text: &'static str, before: &'static str| {
            let parts = text.split(before).skip(1);
            parts.filter_map(|rest| rest.split(['"', '\'']).next())
        };
        let html = asset("").map_or("", |page| page.text);
        let files: Vec<_> = names(html, "/page/").collect();
        assert!(files.len() >= 3, "{files:?}");
        let scripts = ASSETS.iter().filter(|asset| asset.content_type == SCRIPT);
        let imports = scripts.flat_map(|script| names(script.text, "from './"));
        for name in imports.chain(files) {
            assert!(asset(name).is_some(), "{name}");
        }
    }

    #[test]
    fn names_never_become_html() {
        for asset in ASSETS {
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "Function(",
                "DOMParser",
                "srcdoc",
                "style=",
                "onclick=",
                "javascript:",
                "http://",
                "https://",
            ] {
                // Where the name of a name space stands, nothing is fetched.
                let text = asset.text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(way), "{} has {way}", asset.name);
            }
        }
        let html = asset("").map_or("", |page| page.text);
        assert!(!html.contains("<script>") && !html.contains("<style"));
    }
}
