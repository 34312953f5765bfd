{
  description = "CFN testbed: a computing force network on one machine, its scheduler and agents, and the evidence";

  # Stable, because its Rust is at least the workspace's rust-version. One input, pinned by flake.lock.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-25.11";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      inherit (nixpkgs) lib;
      each = lib.genAttrs systems;
      manifest = builtins.fromTOML (builtins.readFile ./Cargo.toml);
      inherit (manifest.workspace.package) version;

      # The workspace with one command in place of the build, for the checks; the binary when there is none.
      build =
        pkgs: overrides:
        pkgs.rustPlatform.buildRustPackage (
          {
            pname = "cfn";
            inherit version;
            src = self;
            cargoLock.lockFile = ./Cargo.lock;
            cargoBuildFlags = [
              "-p"
              "cfn"
            ];
            # Tests are a check of their own: whoever wants the binary need not wait for them.
            doCheck = false;
            meta = {
              description = "Computing force network testbed";
              license = lib.licenses.asl20;
              mainProgram = "cfn";
            };
          }
          // overrides
        );

      cargoCheck =
        pkgs: name: tools: command:
        build pkgs {
          pname = "cfn-${name}";
          nativeBuildInputs = tools;
          buildPhase = ''
            runHook preBuild
            ${command}
            runHook postBuild
          '';
          installPhase = "touch $out";
          dontFixup = true;
        };
    in
    {
      packages = each (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
          package = build pkgs { };
        in
        {
          default = package;
          cfn = package;
        }
        // lib.optionalAttrs (builtins.elem system linux) rec {
          # Linked against musl, so that the image holds one file.
          static = build pkgs.pkgsStatic { };
          image = pkgs.dockerTools.buildLayeredImage {
            name = "cfn";
            tag = version;
            contents = [ static ];
            config = {
              Entrypoint = [ "/bin/cfn" ];
              WorkingDir = "/data";
              Volumes."/data" = { };
            };
          };
        }
      );

      apps = each (system: {
        default = {
          type = "app";
          program = "${self.packages.${system}.default}/bin/cfn";
        };
      });

      devShells = each (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          default = pkgs.mkShell {
            packages = [
              pkgs.cargo
              pkgs.rustc
              pkgs.clippy
              pkgs.rustfmt
              pkgs.rust-analyzer
              pkgs.cargo-insta
              pkgs.cargo-deny
              pkgs.kubectl
              pkgs.kind
              pkgs.k3d
              pkgs.docker-client
            ];
            RUST_SRC_PATH = "${pkgs.rustPlatform.rustLibSrc}";
          };
        }
      );

      checks = each (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          build = self.packages.${system}.default;
          fmt = cargoCheck pkgs "fmt" [ pkgs.rustfmt ] "cargo fmt --all --check";
          clippy =
            cargoCheck pkgs "clippy" [ pkgs.clippy ]
              "cargo clippy --workspace --all-targets --frozen -- -D warnings";
          # kubectl is there for the smoke set of the local lane.
          test = cargoCheck pkgs "test" [ pkgs.kubectl ] "cargo test --workspace --frozen";
        }
      );

      formatter = each (system: nixpkgs.legacyPackages.${system}.nixfmt-rfc-style);
    };
}
