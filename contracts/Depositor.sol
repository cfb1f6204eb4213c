// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

interface IPermit2 {
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

    function permitWitnessTransferFrom(
        PermitTransferFrom calldata permit,
        SignatureTransferDetails calldata transferDetails,
        address owner,
        bytes32 witness,
        string calldata witnessTypeString,
        bytes calldata signature
    ) external;
}

interface IToken {
    function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s)
        external;
    function transferFrom(address from, address to, uint256 value) external returns (bool);
}

/// Moves a signer's tokens to the treasury, and nowhere else, for wallets that have no gas.
///
/// Who calls it: the gateway's settling key; but anybody may, because whoever sends a signature can only do what it says:
/// move exactly that much from its signer to the treasury. The Transfer's `from` is the signer, so the deposit is the
/// signer's like one they sent themselves. It holds nothing, stores nothing, and has no owner.
contract Depositor {
    address public constant PERMIT2 = 0x000000000022D473030F116dDEE9F6B43aC78BA3;
    bytes32 public constant WITNESS_TYPEHASH = keccak256("Deposit(address treasury,address account)");
    string private constant WITNESS_TYPE =
        "Deposit witness)Deposit(address treasury,address account)TokenPermissions(address token,uint256 amount)";

    address public immutable token;
    address public immutable treasury;

    error NoAddress();
    error NotMoved();

    constructor(address theToken, address theTreasury) {
        if (theToken == address(0) || theTreasury == address(0)) revert NoAddress();
        token = theToken;
        treasury = theTreasury;
    }

    /// The witness binds the treasury and the account that is credited, which is the signer's own: a signature made for
    /// another treasury, or for somebody else's account, is none here.
    function depositWithPermit2(
        address owner,
        uint256 amount,
        uint256 nonce,
        uint256 deadline,
        bytes calldata signature
    ) external {
        IPermit2(PERMIT2).permitWitnessTransferFrom(
            IPermit2.PermitTransferFrom(IPermit2.TokenPermissions(token, amount), nonce, deadline),
            IPermit2.SignatureTransferDetails(treasury, amount),
            owner,
            keccak256(abi.encode(WITNESS_TYPEHASH, treasury, owner)),
            WITNESS_TYPE,
            signature
        );
    }

    /// EIP-2612. The permit may have been used already by somebody who saw it: what counts is that the allowance is there,
    /// so its failure is not looked at. An allowance to this contract can move tokens to the treasury only.
    function depositWithPermit(
        address owner,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        try IToken(token).permit(owner, address(this), amount, deadline, v, r, s) {} catch {}
        if (!IToken(token).transferFrom(owner, treasury, amount)) revert NotMoved();
    }
}
