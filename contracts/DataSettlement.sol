// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Callers} from "./Callers.sol";

/// Records what was answered, by hashes, in the words of OpenGradient's relay: functions and events are the same, so that whoever
/// reads those reads these.
///
/// Who calls it: the gateway's settling keys, nobody else. It holds nothing, calls nothing, and keeps nothing but its list of
/// callers: the events are the record.
///
/// What an event proves: that the gateway said so at that time. The signatures are those of receipts (`Receipt`, EIP-712, by the node
/// that answered), which take more than these words to check; the receipt itself has the rest.
contract DataSettlement is Callers {
    /// `blobId`: name of the tree, as text: format `standard-v1` of OpenZeppelin's StandardMerkleTree.
    event BatchSettlement(bytes32 indexed merkleRoot, uint256 batchSize, bytes blobId);
    /// `signer`: who signed, an address in the low bytes. `blobId`: name of the document with input and output, as text.
    event IndividualSettlement(
        bytes32 indexed signer,
        address indexed payer,
        bytes32 inputHash,
        bytes32 outputHash,
        uint256 timestamp,
        bytes blobId,
        bytes signature
    );

    constructor(address firstOwner, address[] memory callers) Callers(firstOwner, callers) {}

    function batchSettle(bytes32 merkleRoot, uint256 batchSize, bytes calldata blobId) external {
        if (!isCaller[msg.sender]) revert NotCaller();
        emit BatchSettlement(merkleRoot, batchSize, blobId);
    }

    function settleIndividual(
        bytes32 signer,
        bytes32 inputHash,
        bytes32 outputHash,
        uint256 timestamp,
        address payer,
        bytes calldata blobId,
        bytes calldata signature
    ) external {
        if (!isCaller[msg.sender]) revert NotCaller();
        emit IndividualSettlement(signer, payer, inputHash, outputHash, timestamp, blobId, signature);
    }

    /// Does the leaf (hashed already) lie under this root? Pairs are hashed in the order of their values.
    function verifyProof(bytes32[] calldata proof, bytes32 root, bytes32 leaf) external pure returns (bool) {
        bytes32 node = leaf;
        for (uint256 i = 0; i < proof.length; ++i) {
            node = node < proof[i] ? keccak256(abi.encode(node, proof[i])) : keccak256(abi.encode(proof[i], node));
        }
        return node == root;
    }
}
