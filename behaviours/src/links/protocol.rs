//! Negotiation of a link's substream: its class is the protocol's name.

use std::{convert::Infallible, future};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
};

use super::Class;

/// A class as multistream-select names it.
#[derive(Debug, Clone)]
pub struct ClassName(Class, StreamProtocol);

impl AsRef<str> for ClassName {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

/// Offers, or asks for, substreams of some classes.
#[derive(Debug, Clone)]
pub struct Classes(pub(super) Vec<Class>);

impl UpgradeInfo for Classes {
    type Info = ClassName;
    type InfoIter = std::vec::IntoIter<ClassName>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().map(|class| ClassName(*class, class.protocol())).collect::<Vec<_>>().into_iter()
    }
}

impl InboundUpgrade<Stream> for Classes {
    type Output = (Class, Stream);
    type Error = Infallible;
    type Future = future::Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: ClassName) -> Self::Future {
        future::ready(Ok((name.0, stream)))
    }
}

impl OutboundUpgrade<Stream> for Classes {
    type Output = (Class, Stream);
    type Error = Infallible;
    type Future = future::Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: ClassName) -> Self::Future {
        future::ready(Ok((name.0, stream)))
    }
}
