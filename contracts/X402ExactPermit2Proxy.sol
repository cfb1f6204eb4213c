// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {PermitTransferFrom, X402Permit2Proxy} from "./X402Permit2Proxy.sol";

/// FOR DEVELOPMENT ONLY: stands where public chains have the x402 proxy of the scheme `exact` by Permit2, at
/// 0x402085c248EeA27D92E8b30b2C58ed07f9E20001. script/deploy.mjs puts its code there on the local chain, so that clients,
/// facilitators and the gateway meet the same address, functions, errors and signed types as elsewhere. The code is ours:
/// of a permit that failed it reports the bytes only, where the proxy of public chains tells three kinds of failure apart.
contract X402ExactPermit2Proxy is X402Permit2Proxy {
    struct Witness {
        address to;
        uint256 validAfter;
    }

    bytes32 public constant WITNESS_TYPEHASH = keccak256("Witness(address to,uint256 validAfter)");

    /// How the witness continues Permit2's type: its members follow the name, then the types in alphabetical order.
    string public constant WITNESS_TYPE_STRING =
        "Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,uint256 validAfter)";

    /// Moves all of what was permitted. Anybody may send it: everything in it is signed.
    function settle(
        PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external {
        _settle(permit, owner, witness, signature);
        emit Settled();
    }

    /// The same for a payer without allowance for Permit2, who signed an EIP-2612 permit of the same amount as well.
    function settleWithPermit(
        EIP2612Permit calldata permit2612,
        PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) external {
        _approve(permit2612, permit.permitted, owner);
        _settle(permit, owner, witness, signature);
        emit SettledWithPermit();
    }

    function _settle(
        PermitTransferFrom calldata permit,
        address owner,
        Witness calldata witness,
        bytes calldata signature
    ) private {
        bytes32 hash = keccak256(abi.encode(WITNESS_TYPEHASH, witness));
        _transfer(
            permit, permit.permitted.amount, owner, witness.to, witness.validAfter, hash, WITNESS_TYPE_STRING, signature
        );
    }
}
