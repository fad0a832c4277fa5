//! `schema`: the JSON Schema of the files that people write.

use clap::{Args, ValueEnum};

/// Arguments of `schema`.
#[derive(Args, Debug)]
#[command(after_help = "\
An editor with a YAML language server checks a file while it is written, if the file starts with
  # yaml-language-server: $schema=PATH
Example: enforcer schema > policy.json")]
pub(super) struct Schema {
    /// For which files.
    #[arg(long = "for", value_name = "FILES", default_value = "policies")]
    files: Files,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Files {
    /// Policy files.
    Policies,
    /// Test files: NAME.test.yaml.
    Tests,
}

/// Prints the schema.
pub(super) fn main(Schema { files }: Schema) {
    match files {
        Files::Policies => println!("{}", policy_schema::json_schema()),
        Files::Tests => println!("{}", policy_schema::cases_json_schema()),
    }
}
