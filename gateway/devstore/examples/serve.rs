//! Serves the embedded store alone, for looking at it with S3 clients.
//!
//! Usage: `serve ADDRESS (memory|DIRECTORY) ACCESS_KEY SECRET_KEY`. What must not live here: anything
//! the gateway needs. Invariant: the server ends with this process.

use std::io;

use sceau_devstore::{Credentials, DataLocation, DevStore};

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .ok_or_else(|| io::Error::other("four arguments are needed"))
    };
    let (address, place, access_key, secret_key) = (next()?, next()?, next()?, next()?);
    let location = match place.as_str() {
        "memory" => DataLocation::Memory,
        directory => DataLocation::Directory(directory.into()),
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    DevStore::open(location)?
        .serve(
            listener,
            Credentials {
                access_key,
                secret_key,
            },
        )
        .await
}
