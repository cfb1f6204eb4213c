// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// A contract wallet FOR TESTS ONLY: it approves exactly the digests its owner named before (ERC-1271), so the tests can
/// show that OPG accepts authorizations by contracts and refuses those the contract did not approve.
contract TestWallet {
    address private immutable owner;
    mapping(bytes32 => bool) private approved;

    constructor() {
        owner = msg.sender;
    }

    function approve(bytes32 digest) external {
        require(msg.sender == owner, "TestWallet: not the owner");
        approved[digest] = true;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return approved[digest] ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
