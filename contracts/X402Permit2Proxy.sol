// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// What the two stand-ins share; X402ExactPermit2Proxy.sol says what they are for. The payer's Permit2 signature names the
/// proxy as spender and carries a witness with the payee, so that whoever sends the transaction cannot redirect it.

struct TokenPermissions {
    address token;
    uint256 amount;
}

struct PermitTransferFrom {
    TokenPermissions permitted;
    uint256 nonce;
    uint256 deadline;
}

struct SignatureTransferDetails {
    address to;
    uint256 requestedAmount;
}

interface IPermit2 {
    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}

interface IERC2612 {
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
}

abstract contract X402Permit2Proxy {
    /// A constant, not an immutable: the code is put in place without running a constructor.
    IPermit2 public constant PERMIT2 = IPermit2(0x000000000022D473030F116dDEE9F6B43aC78BA3);

    struct EIP2612Permit {
        uint256 value;
        uint256 deadline;
        bytes32 r;
        bytes32 s;
        uint8 v;
    }

    event Settled();
    event SettledWithPermit();
    event EIP2612PermitFailedWithData(address indexed token, address indexed owner, bytes data);

    error InvalidDestination();
    error PaymentTooEarly();
    error InvalidOwner();
    error InvalidAmount();
    error Permit2612AmountMismatch();

    /// No guard against re-entry: nothing is stored or held here, and Permit2 burns the nonce before the token is called.
    function _transfer(
        PermitTransferFrom calldata permit,
        uint256 amount,
        address owner,
        address to,
        uint256 validAfter,
        bytes32 witness,
        string memory witnessType,
        bytes calldata signature
    ) internal {
        if (amount == 0) revert InvalidAmount();
        if (owner == address(0)) revert InvalidOwner();
        if (to == address(0)) revert InvalidDestination();
        if (block.timestamp < validAfter) revert PaymentTooEarly();
        SignatureTransferDetails memory details = SignatureTransferDetails(to, amount);
        PERMIT2.permitWitnessTransferFrom(permit, details, owner, witness, witnessType, signature);
    }

    /// A permit that fails is only noted: somebody may have sent it before us, and then the allowance is there. Should it
    /// not be, the transfer fails.
    function _approve(EIP2612Permit calldata signed, TokenPermissions calldata permitted, address owner) internal {
        if (signed.value != permitted.amount) revert Permit2612AmountMismatch();
        try IERC2612(permitted.token).permit(
            owner, address(PERMIT2), signed.value, signed.deadline, signed.v, signed.r, signed.s
        ) {} catch (bytes memory data) {
            emit EIP2612PermitFailedWithData(permitted.token, owner, data);
        }
    }
}
