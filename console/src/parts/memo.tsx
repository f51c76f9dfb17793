/** A component that is drawn again only where what it is given changes. */
import { Component, type ComponentChildren, type FunctionComponent } from "preact";

export function memo<Props extends object>(draw: (props: Props) => ComponentChildren): FunctionComponent<Props> {
  class Memo extends Component<Props> {
    override shouldComponentUpdate(next: Props): boolean {
      const now = this.props as Record<string, unknown>;
      const then = next as Record<string, unknown>;
      return Object.keys(then).some((name) => name !== "children" && now[name] !== then[name]);
    }
    override render(): ComponentChildren {
      return draw(this.props as Props);
    }
  }
  return Memo as unknown as FunctionComponent<Props>;
}
