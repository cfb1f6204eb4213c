// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// Who may call: a list of keys that an owner keeps. Settler, Payouts and DataSettlement stand on it.
abstract contract Callers {
    address public owner;
    address public pendingOwner;
    mapping(address => bool) public isCaller;

    event CallerSet(address indexed caller, bool allowed);
    event OwnershipOffered(address indexed owner, address indexed pendingOwner);
    event OwnershipTaken(address indexed previousOwner, address indexed owner);

    error NotCaller();
    error NotOwner();
    error NotPendingOwner();
    error NoOwner();

    constructor(address firstOwner, address[] memory callers) {
        if (firstOwner == address(0)) revert NoOwner();
        owner = firstOwner;
        emit OwnershipTaken(address(0), firstOwner);
        for (uint256 i = 0; i < callers.length; ++i) {
            _setCaller(callers[i], true);
        }
    }

    /// Lets a key call, or no longer.
    function setCaller(address caller, bool allowed) external {
        if (msg.sender != owner) revert NotOwner();
        _setCaller(caller, allowed);
    }

    /// Offers ownership; nothing changes until it is accepted, so a mistyped address cannot lose the contract. The zero
    /// address withdraws an offer.
    function transferOwnership(address to) external {
        if (msg.sender != owner) revert NotOwner();
        pendingOwner = to;
        emit OwnershipOffered(owner, to);
    }

    function acceptOwnership() external {
        if (msg.sender != pendingOwner) revert NotPendingOwner();
        emit OwnershipTaken(owner, msg.sender);
        owner = msg.sender;
        pendingOwner = address(0);
    }

    function _setCaller(address caller, bool allowed) private {
        isCaller[caller] = allowed;
        emit CallerSet(caller, allowed);
    }
}
